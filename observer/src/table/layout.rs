//! Which columns there is room for.

use super::Listed;

/// The places of the columns that fit into `room`, in order, where each takes `widths` and `between` them is
/// space. The ones of the greatest rank go first; `needed` stays.
pub fn choose<T: Listed>(widths: &[usize], between: usize, room: usize, needed: Option<usize>) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..T::COLUMNS.len()).collect();
    let taken = |chosen: &[usize]| -> usize { chosen.iter().map(|&at| widths[at] + between).sum() };
    while taken(&chosen) > room + between {
        // Of equals, the last: columns that belong together lose their second half.
        let spare = chosen.iter().copied().filter(|&at| Some(at) != needed && T::COLUMNS[at].rank > 0);
        let Some(dropped) = spare.max_by_key(|&at| (T::COLUMNS[at].rank, at)) else { break };
        chosen.retain(|&at| at != dropped);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::flows::Row;
    use crate::processes::Process;
    use crate::table::Listed;

    fn titles<T: Listed>(room: usize, needed: Option<&str>) -> Vec<&'static str> {
        let widths: Vec<usize> = T::COLUMNS.iter().map(|column| usize::from(column.width)).collect();
        let needed = needed.and_then(|title| T::COLUMNS.iter().position(|column| column.title == title));
        choose::<T>(&widths, 1, room, needed).into_iter().map(|at| T::COLUMNS[at].title).collect()
    }

    #[test]
    fn what_matters_most_fits_on_the_smallest_terminal() {
        assert_eq!(
            titles::<Process>(80, None),
            ["PID", "PROCESS", "CONNS", "ACTIVE", "SENT/s", "RCVD/s", "MSG OUT", "MSG IN", "OVER", "HIT%"]
        );
        assert_eq!(
            titles::<Row>(80, None),
            ["PID", "PROCESS", "PROTOCOL", "LOCAL", "REMOTE", "SENT/s", "RCVD/s"]
        );
        assert!(titles::<Row>(80, Some("RETX")).contains(&"RETX"));
        assert_eq!(titles::<Process>(10, None), ["PID", "PROCESS", "CONNS", "SENT/s", "RCVD/s"]);
        assert_eq!(titles::<Process>(500, None).len(), Process::COLUMNS.len());
    }
}
