//! Adding up: the kernel half's counts, of 32 bits, into totals of 64.

/// Adds counts to totals, place by place.
pub fn add_all<T: Copy + Into<u64>>(totals: &mut [u64], counts: &[T]) {
    for (total, &count) in totals.iter_mut().zip(counts) {
        *total += count.into();
    }
}

/// The same of tables.
pub fn add_tables<T: Copy + Into<u64>, const N: usize>(totals: &mut [[u64; N]], counts: &[[T; N]]) {
    for (total, counts) in totals.iter_mut().zip(counts) {
        add_all(total, counts);
    }
}

/// The bucket of a value: that of the first bound which is not below it, or the one above all bounds.
pub fn bucket(value: f64, bounds: &[f64]) -> usize {
    bounds.iter().filter(|&&bound| value > bound).count()
}
