//! Counting in the buckets of a histogram.

/// The bucket that a number falls in: as many as there are bounds below it, which are inclusive.
#[inline(always)]
pub fn bucket<const N: usize>(bounds: &[u64; N], number: u64) -> usize {
    // The signs of the differences add up to it: straight-line code, which the verifier walks once, where
    // comparisons would make it walk on once for each bucket. The bounds are read so that the compiler does
    // not know them, or it would make comparisons of this.
    // SAFETY: references are always readable.
    let bounds = bounds.iter().map(|bound| unsafe { core::ptr::from_ref(bound).read_volatile() });
    // A number without a sign; one that would need it is in the last bucket.
    let number = number & (u64::MAX >> 1) | (number >> 63) << 62;
    bounds.map(|bound| (bound.wrapping_sub(number) >> 63) as usize).sum()
}

/// Adds one to a count, if there is one of this number.
#[inline(always)]
pub(crate) fn add(counts: &mut [u32], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count = count.wrapping_add(1);
    }
}

/// Counts a number in its bucket, and in the sum of all.
#[inline(always)]
pub(crate) fn observe<const N: usize>(bounds: &[u64; N], number: u64, sum: &mut u64, counts: &mut [u32]) {
    *sum = sum.saturating_add(number);
    add(counts, bucket(bounds, number));
}
