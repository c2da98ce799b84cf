//! The fields of each message, as far as they are looked into.

use super::{ALL, Action, END, Field, Kind, Slot};

const fn field(kind: Kind, first: u8, last: u8, argument: u8) -> Field {
    Field { kind: kind as u8, first, last, argument, place: 0, reserved: [0; 3] }
}

const fn number(width: u8, slot: Slot, first: u8, last: u8) -> Field {
    Field { place: slot as u8, ..field(Kind::Number, first, last, width) }
}

const fn fixed(bytes: u8, first: u8) -> Field {
    field(Kind::Fixed, first, ALL, bytes)
}

const fn text(is_kept: bool, first: u8, last: u8) -> Field {
    field(Kind::Text, first, last, is_kept as u8)
}

const fn array(level: u8, first: u8, last: u8) -> Field {
    field(Kind::Array, first, last, level)
}

const fn close(level: u8, first: u8, last: u8) -> Field {
    field(Kind::Close, first, last, level)
}

const fn act(action: Action, first: u8, last: u8) -> Field {
    field(Kind::Act, first, last, action as u8)
}

const TAGS: Field = field(Kind::Tags, 0, ALL, 0);

/// The topic's name, or its id from a version on, and what it is for.
const fn topic(id_from: u8) -> [Field; 5] {
    [
        text(true, 0, id_from - 1),
        act(Action::Topic, 0, id_from - 1),
        number(8, Slot::TOPIC_ID, id_from, ALL),
        number(8, Slot::TOPIC_ID_LOW, id_from, ALL),
        act(Action::TopicId, id_from, ALL),
    ]
}

/// In which versions topics never have ids.
const NEVER: u8 = ALL;

/// What stands before any message.
pub(super) const SIZE: [Field; 2] = [number(4, Slot::Size, 0, ALL), act(Action::Size, 0, ALL)];

pub(super) const REQUEST: [Field; 5] = [
    number(2, Slot::Code, 0, ALL),
    number(2, Slot::Version, 0, ALL),
    number(4, Slot::Correlation, 0, ALL),
    field(Kind::Plain, 0, ALL, 1),
    act(Action::Header, 0, ALL),
];

pub(super) const RESPONSE: [Field; 2] = [number(4, Slot::Correlation, 0, ALL), act(Action::Header, 0, ALL)];

pub(super) const OVER: [Field; 1] = [act(Action::Over, 0, ALL)];

/// The header of a record batch, and of what was there before them as far as its format ("Record Batch").
pub(super) const BATCH: [Field; 14] = [
    number(8, Slot::Offset, 0, ALL),
    number(4, Slot::LENGTH, 0, ALL),
    fixed(4, 0),
    number(1, Slot::FORMAT, 0, ALL),
    field(Kind::Magic, 0, ALL, 0),
    fixed(4, 0),
    number(2, Slot::ATTRIBUTES, 0, ALL),
    number(4, Slot::LAST_DELTA, 0, ALL),
    fixed(8, 0),
    number(8, Slot::WRITTEN, 0, ALL),
    fixed(14, 0),
    number(4, Slot::Records, 0, ALL),
    act(Action::Batch, 0, ALL),
    field(Kind::Batch, 0, ALL, 0),
];

/// The fields of a message that tells of partitions, by topic: those before the topics, from which version on topics have
/// ids instead of names, and those of a partition behind its number.
macro_rules! by_topic {
    ([$($head:expr),* $(,)?] ids from $ids:literal: [$($field:expr),* $(,)?]) => {{
        let [name, named, id, id_low, identified] = topic($ids);
        [
            $($head,)*
            array(0, 0, ALL),
            name,
            named,
            id,
            id_low,
            identified,
            array(1, 0, ALL),
            number(4, Slot::Partition, 0, ALL),
            $($field,)*
            TAGS,
            close(1, 0, ALL),
            TAGS,
            close(0, 0, ALL),
            END,
        ]
    }};
}

const RECORDS: Field = field(Kind::Records, 0, ALL, 0);

pub(super) const PRODUCE: [Field; 19] = by_topic! {
    [
        TAGS,
        text(false, 3, ALL),
        number(2, Slot::Code, 0, ALL),
        act(Action::Acks, 0, ALL),
        fixed(4, 0),
    ] ids from 13:
    [RECORDS]
};

pub(super) const PRODUCED: [Field; 25] = by_topic! {
    [TAGS] ids from 13:
    [
        number(2, Slot::Code, 0, ALL),
        number(8, Slot::Offset, 0, ALL),
        act(Action::Written, 0, ALL),
        fixed(8, 2),
        fixed(8, 5),
        array(2, 8, ALL),
        fixed(4, 8),
        text(false, 8, ALL),
        TAGS,
        close(2, 8, ALL),
        text(false, 8, ALL),
    ]
};

pub(super) const FETCH: [Field; 26] = by_topic! {
    [
        TAGS,
        number(4, Slot::Code, 0, 14),
        act(Action::Replica, 0, 14),
        fixed(8, 0),
        fixed(4, 3),
        fixed(1, 4),
        fixed(8, 7),
    ] ids from 13:
    [
        fixed(4, 9),
        number(8, Slot::Offset, 0, ALL),
        act(Action::Fetching, 0, ALL),
        fixed(4, 12),
        fixed(8, 5),
        fixed(4, 0),
    ]
};

pub(super) const FETCHED: [Field; 29] = by_topic! {
    [
        TAGS,
        fixed(4, 1),
        number(2, Slot::Code, 7, ALL),
        act(Action::Error, 7, ALL),
        fixed(4, 7),
    ] ids from 13:
    [
        number(2, Slot::Code, 0, ALL),
        number(8, Slot::Offset, 0, ALL),
        act(Action::Watermark, 0, ALL),
        fixed(8, 4),
        fixed(8, 5),
        array(2, 4, ALL),
        fixed(16, 4),
        TAGS,
        close(2, 4, ALL),
        fixed(4, 11),
        RECORDS,
    ]
};

pub(super) const METADATA: [Field; 31] = [
    TAGS,
    fixed(4, 3),
    array(0, 0, ALL),
    fixed(4, 0),
    text(false, 0, ALL),
    fixed(4, 0),
    text(false, 1, ALL),
    TAGS,
    close(0, 0, ALL),
    text(false, 2, ALL),
    fixed(4, 1),
    array(0, 0, ALL),
    number(2, Slot::Code, 0, ALL),
    act(Action::Error, 0, ALL),
    text(true, 0, ALL),
    number(8, Slot::TOPIC_ID, 10, ALL),
    number(8, Slot::TOPIC_ID_LOW, 10, ALL),
    act(Action::Learn, 10, ALL),
    fixed(1, 1),
    array(1, 0, ALL),
    fixed(10, 0),
    fixed(4, 7),
    field(Kind::Items, 0, ALL, 4),
    field(Kind::Items, 0, ALL, 4),
    field(Kind::Items, 5, ALL, 4),
    TAGS,
    close(1, 0, ALL),
    fixed(4, 8),
    TAGS,
    close(0, 0, ALL),
    END,
];

/// Of `OffsetCommit`.
pub(super) const COMMIT: [Field; 25] = by_topic! {
    [
        TAGS,
        text(true, 0, ALL),
        act(Action::Group, 0, ALL),
        fixed(4, 1),
        text(false, 1, ALL),
        text(false, 7, ALL),
        field(Kind::Fixed, 2, 4, 8),
    ] ids from 10:
    [
        number(8, Slot::Offset, 0, ALL),
        act(Action::Committed, 0, ALL),
        fixed(4, 6),
        field(Kind::Fixed, 1, 1, 8),
        text(false, 0, ALL),
    ]
};

/// Of `TxnOffsetCommit`.
pub(super) const TRANSACTION_COMMIT: [Field; 22] = {
    let [a, b, ..] = topic(NEVER);
    [
        TAGS,
        text(false, 0, ALL),
        text(true, 0, ALL),
        act(Action::Group, 0, ALL),
        fixed(10, 0),
        fixed(4, 3),
        text(false, 3, ALL),
        text(false, 3, ALL),
        array(0, 0, ALL),
        a,
        b,
        array(1, 0, ALL),
        number(4, Slot::Partition, 0, ALL),
        number(8, Slot::Offset, 0, ALL),
        act(Action::Committed, 0, ALL),
        fixed(4, 2),
        text(false, 0, ALL),
        TAGS,
        close(1, 0, ALL),
        TAGS,
        close(0, 0, ALL),
        END,
    ]
};

/// Of responses to `OffsetCommit`.
pub(super) const COMMITTED: [Field; 14] = [
    TAGS,
    fixed(4, 3),
    array(0, 0, ALL),
    text(false, 0, 9),
    fixed(16, 10),
    array(1, 0, ALL),
    fixed(4, 0),
    number(2, Slot::Code, 0, ALL),
    act(Action::Error, 0, ALL),
    TAGS,
    close(1, 0, ALL),
    TAGS,
    close(0, 0, ALL),
    END,
];

/// Of requests that begin with the name of a group.
pub(super) const GROUP: [Field; 4] = [TAGS, text(true, 0, ALL), act(Action::Group, 0, ALL), END];

/// Of `OffsetFetch`, which may name several groups from version 8 on.
pub(super) const GROUPS: [Field; 5] =
    [TAGS, array(0, 8, ALL), text(true, 0, ALL), act(Action::Group, 0, ALL), END];

/// Of responses to `OffsetFetch`.
pub(super) const GROUPS_FETCHED: [Field; 26] = {
    let [a, b, c, d, e] = topic(10);
    [
        TAGS,
        fixed(4, 3),
        array(0, 8, ALL),
        text(true, 8, ALL),
        act(Action::Group, 8, ALL),
        array(1, 0, ALL),
        a,
        b,
        c,
        d,
        e,
        array(2, 0, ALL),
        number(4, Slot::Partition, 0, ALL),
        number(8, Slot::Offset, 0, ALL),
        act(Action::Known, 0, ALL),
        fixed(4, 5),
        text(false, 0, ALL),
        number(2, Slot::Code, 0, ALL),
        act(Action::Error, 0, ALL),
        TAGS,
        close(2, 0, ALL),
        TAGS,
        close(1, 0, ALL),
        number(2, Slot::Code, 2, ALL),
        act(Action::Error, 2, ALL),
        END,
    ]
};

/// Of responses that begin with an error code, behind the time of throttling.
pub(super) const CODE: [Field; 5] =
    [TAGS, fixed(4, 1), number(2, Slot::Code, 0, ALL), act(Action::Error, 0, ALL), END];
