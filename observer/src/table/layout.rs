//! Which columns there is room for.

use super::Head;

/// The places of the columns that fit into `room`, in order, where each takes `widths` and `between` them is
/// space. The ones of the greatest rank go first, and before them those that are `empty`; `needed` stays.
pub fn choose(
    heads: &[&Head],
    widths: &[usize],
    empty: &[bool],
    (between, room): (usize, usize),
    needed: Option<usize>,
) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..heads.len()).collect();
    let taken = |chosen: &[usize]| -> usize { chosen.iter().map(|&at| widths[at] + between).sum() };
    while taken(&chosen) > room + between {
        // Of equals, the last: columns that belong together lose their second half.
        let spare = chosen.iter().copied().filter(|&at| Some(at) != needed && heads[at].rank > 0);
        let Some(dropped) = spare.max_by_key(|&at| (empty[at], heads[at].rank, at)) else { break };
        chosen.retain(|&at| at != dropped);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::flows;
    use crate::processes::Process;
    use crate::queues::shown::Queue;
    use crate::routes::Route;
    use crate::table::{Listed, Table};

    fn titles<T: Listed>(room: usize, needed: Option<&str>, empty: &[&str]) -> Vec<&'static str> {
        let heads = Table::of::<T>().heads;
        let widths: Vec<usize> = heads.iter().map(|head| usize::from(head.width)).collect();
        let empty: Vec<bool> = heads.iter().map(|head| empty.contains(&head.title)).collect();
        let needed = needed.and_then(|title| heads.iter().position(|head| head.title == title));
        let chosen = choose(&heads, &widths, &empty, (1, room), needed);
        chosen.into_iter().map(|at| heads[at].title).collect()
    }

    #[test]
    fn what_matters_most_fits_on_the_smallest_terminal() {
        let requests = ["REQ/s", "ERR%", "P95"];
        assert_eq!(
            titles::<Process>(80, None, &requests),
            ["PID", "PROCESS", "CONNS", "ACTIVE", "SENT/s", "RCVD/s", "MSG OUT", "MSG IN", "OVER", "HIT%"]
        );
        assert_eq!(
            titles::<Process>(80, None, &["ACTIVE", "IDLE", "IN TX", "WAIT", "HIT%"]),
            ["PID", "PROCESS", "CONNS", "REQ/s", "ERR%", "P95", "SENT/s", "RCVD/s", "MSG OUT", "MSG IN"]
        );
        assert_eq!(
            titles::<Process>(80, None, &[]),
            ["PID", "PROCESS", "CONNS", "REQ/s", "ERR%", "P95", "ACTIVE", "SENT/s", "RCVD/s", "MSG OUT"]
        );
        assert_eq!(
            titles::<flows::Row>(80, None, &[]),
            ["PID", "PROCESS", "PROTOCOL", "LOCAL", "REMOTE", "SENT/s", "RCVD/s"]
        );
        assert_eq!(
            titles::<Route>(80, None, &[]),
            ["PROCESS", "ROLE", "METHOD", "ROUTE", "REQ/s", "ERR%", "P95"]
        );
        assert_eq!(
            titles::<Queue>(80, None, &[]),
            ["PROCESS", "ROLE", "QUEUE", "GROUP", "WAITING", "OLDEST", "PUT/s", "TAKE/s"]
        );
        assert_eq!(
            titles::<Queue>(80, None, &["CONTAINER", "GROUP", "ACK/s"]),
            ["PROCESS", "ROLE", "QUEUE", "WAITING", "OLDEST", "PUT/s", "TAKE/s", "AGE"]
        );
        assert!(titles::<flows::Row>(80, Some("RETX"), &["RETX"]).contains(&"RETX"));
        assert_eq!(titles::<Process>(10, None, &[]), ["PID", "PROCESS", "CONNS", "SENT/s", "RCVD/s"]);
        assert_eq!(titles::<Process>(500, None, &requests).len(), Process::COLUMNS.len());
    }
}
