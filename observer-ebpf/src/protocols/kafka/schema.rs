//! What messages of Kafka consist of, as far as they are looked into ("The Messages" of the protocol guide, and
//! `clients/src/main/resources/common/message/*.json` of Kafka).
//!
//! A message is described by a list of fields, each with the versions that have it. The parser goes through the list, and
//! so there is one small piece of code for all messages of all versions, whatever they are.
//!
//! ```text
//!   Tags │ Text group │ Fixed 4 │ Text │ … │ Array { Text topic │ Array { Number partition │ Number offset │ … } }
//! ```

mod messages;

use self::messages::{
    BATCH, CODE, COMMIT, COMMITTED, FETCH, FETCHED, GROUP, GROUPS, GROUPS_FETCHED, METADATA, OVER, PRODUCE,
    PRODUCED, REQUEST, RESPONSE, SIZE, TRANSACTION_COMMIT,
};

/// Something that is there in some versions.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Field {
    /// A [`Kind`].
    pub(super) kind: u8,
    /// The first and the last version that has it.
    pub(super) first: u8,
    pub(super) last: u8,
    /// By kind.
    pub(super) argument: u8,
    /// By kind.
    pub(super) place: u8,
    pub(super) reserved: [u8; 3],
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing more is looked at.
    End = 0,
    /// So many bytes.
    Fixed = 1,
    /// A number of so many bytes, for a [`Slot`].
    Number = 2,
    /// A string, which is kept if the argument is 1.
    Text = 3,
    /// The same, with a length of two bytes in whatever version.
    Plain = 4,
    /// An array, of a level of nesting. What is behind it has a place.
    Array = 5,
    /// An element of an array is over. The next one begins at a place.
    Close = 6,
    /// Tagged fields, in flexible versions.
    Tags = 7,
    /// Record batches, behind their length in bytes.
    Records = 8,
    /// An array of elements of so many bytes each.
    Items = 9,
    /// The format of a record batch is known.
    Magic = 10,
    /// A record batch's header is over.
    Batch = 11,
    /// Something is known: an [`Action`].
    Act = 12,
}

impl Kind {
    /// Whether it is no bytes.
    #[inline(always)]
    pub(super) const fn is_empty(kind: u8) -> bool {
        kind == Self::End as u8 || kind == Self::Close as u8 || kind >= Self::Magic as u8
    }
}

/// Where numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Slot {
    /// A message's size.
    Size = 0,
    /// An API key, or an error code.
    Code = 1,
    /// A version, or a record batch's format or attributes.
    Version = 2,
    /// A correlation id, or a record batch's length.
    Correlation = 3,
    /// A partition.
    Partition = 4,
    /// An offset, or half of a topic's id.
    Offset = 5,
    /// A second one, or the other half.
    Second = 6,
    /// A number of records.
    Records = 7,
}

impl Slot {
    /// Numbers that have the place of others.
    pub(super) const TOPIC_ID: Self = Self::Offset;
    pub(super) const TOPIC_ID_LOW: Self = Self::Second;
    pub(super) const FORMAT: Self = Self::Version;
    pub(super) const ATTRIBUTES: Self = Self::Version;
    pub(super) const LENGTH: Self = Self::Correlation;
    pub(super) const LAST_DELTA: Self = Self::Code;
    pub(super) const WRITTEN: Self = Self::Second;
}

/// What is done with what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Action {
    /// A message's size.
    Size = 1,
    /// A request's header, or a response's correlation id.
    Header = 2,
    /// A message is over.
    Over = 3,
    /// A topic's name.
    Topic = 4,
    /// A topic's id.
    TopicId = 5,
    /// A topic's name and its id.
    Learn = 6,
    /// A consumer group's name.
    Group = 7,
    /// The partition's next offset that is asked for.
    Fetching = 8,
    /// The partition's error code and high watermark.
    Watermark = 9,
    /// A record batch.
    Batch = 10,
    /// The partition's error code, and the first offset of what was written.
    Written = 11,
    /// The partition's committed offset.
    Committed = 12,
    /// An error code alone.
    Error = 13,
    /// Who asks: -1 is a consumer, others are brokers.
    Replica = 14,
    /// How many brokers are to have written it; where none, there is no response.
    Acks = 15,
    /// The partition's committed offset, as it was before.
    Known = 16,
}

/// The last of all versions.
const ALL: u8 = u8::MAX;

const END: Field =
    Field { kind: Kind::End as u8, first: 0, last: ALL, argument: 0, place: 0, reserved: [0; 3] };

/// How many fields there is room for: any number of one byte is the place of one.
const PLACES: usize = 256;

/// All fields, one message behind the other.
pub(super) static FIELDS: [Field; PLACES] = {
    let mut fields = [END; PLACES];
    copy(&mut fields, SIZE_AT, &SIZE);
    copy(&mut fields, REQUEST_AT, &REQUEST);
    copy(&mut fields, RESPONSE_AT, &RESPONSE);
    copy(&mut fields, OVER_AT, &OVER);
    copy(&mut fields, BATCH_AT, &BATCH);
    copy(&mut fields, PRODUCE_AT, &PRODUCE);
    copy(&mut fields, PRODUCED_AT, &PRODUCED);
    copy(&mut fields, FETCH_AT, &FETCH);
    copy(&mut fields, FETCHED_AT, &FETCHED);
    copy(&mut fields, METADATA_AT, &METADATA);
    copy(&mut fields, COMMIT_AT, &COMMIT);
    copy(&mut fields, TRANSACTION_COMMIT_AT, &TRANSACTION_COMMIT);
    copy(&mut fields, COMMITTED_AT, &COMMITTED);
    copy(&mut fields, GROUP_AT, &GROUP);
    copy(&mut fields, GROUPS_AT, &GROUPS);
    copy(&mut fields, GROUPS_FETCHED_AT, &GROUPS_FETCHED);
    copy(&mut fields, CODE_AT, &CODE);
    fields
};

/// Where messages begin.
pub(super) const SIZE_AT: u8 = 0;
pub(super) const REQUEST_AT: u8 = SIZE_AT + SIZE.len() as u8;
pub(super) const RESPONSE_AT: u8 = REQUEST_AT + REQUEST.len() as u8;
pub(super) const OVER_AT: u8 = RESPONSE_AT + RESPONSE.len() as u8;
pub(super) const BATCH_AT: u8 = OVER_AT + OVER.len() as u8;
const PRODUCE_AT: u8 = BATCH_AT + BATCH.len() as u8;
const PRODUCED_AT: u8 = PRODUCE_AT + PRODUCE.len() as u8;
const FETCH_AT: u8 = PRODUCED_AT + PRODUCED.len() as u8;
const FETCHED_AT: u8 = FETCH_AT + FETCH.len() as u8;
const METADATA_AT: u8 = FETCHED_AT + FETCHED.len() as u8;
const COMMIT_AT: u8 = METADATA_AT + METADATA.len() as u8;
const TRANSACTION_COMMIT_AT: u8 = COMMIT_AT + COMMIT.len() as u8;
const COMMITTED_AT: u8 = TRANSACTION_COMMIT_AT + TRANSACTION_COMMIT.len() as u8;
const GROUP_AT: u8 = COMMITTED_AT + COMMITTED.len() as u8;
const GROUPS_AT: u8 = GROUP_AT + GROUP.len() as u8;
const GROUPS_FETCHED_AT: u8 = GROUPS_AT + GROUPS.len() as u8;
const CODE_AT: u8 = GROUPS_FETCHED_AT + GROUPS_FETCHED.len() as u8;
/// A field at which a message ends.
pub(super) const END_AT: u8 = CODE_AT + CODE.len() as u8;

/// Copies fields to a place, where arrays and the ends of their elements get to know where the other one is. Where a message
/// is left within an array, that ends with it.
const fn copy<const N: usize>(all: &mut [Field; PLACES], place: u8, fields: &[Field; N]) {
    let mut at = 0;
    while at < N {
        let mut field = fields[at];
        if field.kind == Kind::Array as u8 {
            let mut close = at;
            while close < N - 1
                && (fields[close].kind != Kind::Close as u8 || fields[close].argument != field.argument)
            {
                close += 1;
            }
            field.place = place + close as u8 + (close < N - 1) as u8;
        } else if field.kind == Kind::Close as u8 {
            let mut array = at;
            while fields[array].kind != Kind::Array as u8 || fields[array].argument != field.argument {
                array -= 1;
            }
            field.place = place + array as u8 + 1;
        }
        all[place as usize + at] = field;
        at += 1;
    }
}

/// The body of a message.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Body {
    /// Where it begins.
    pub(super) place: u8,
    /// The last version that is known.
    pub(super) last: u8,
    /// The first version that is flexible.
    pub(super) flexible: u8,
    pub(super) reserved: u8,
}

/// A message whose body is of no interest.
const OPAQUE: Body = Body { place: END_AT, last: ALL, flexible: ALL, reserved: 0 };

/// How many API keys there are bodies for.
pub(super) const KEYS: usize = 128;

const fn body(place: u8, flexible: u8, last: u8) -> Body {
    Body { place, last, flexible, reserved: 0 }
}

/// Bodies of requests, by API key.
pub(super) static REQUESTS: [Body; KEYS] = {
    let mut all = [OPAQUE; KEYS];
    all[0] = body(PRODUCE_AT, 9, 13);
    all[1] = body(FETCH_AT, 12, 18);
    all[8] = body(COMMIT_AT, 8, 10);
    all[9] = body(GROUPS_AT, 6, ALL);
    all[11] = body(GROUP_AT, 6, ALL);
    all[12] = body(GROUP_AT, 4, ALL);
    all[13] = body(GROUP_AT, 4, ALL);
    all[14] = body(GROUP_AT, 4, ALL);
    all[28] = body(TRANSACTION_COMMIT_AT, 3, 5);
    all[68] = body(GROUP_AT, 0, ALL);
    all
};

/// Bodies of responses, by API key.
pub(super) static RESPONSES: [Body; KEYS] = {
    let mut all = [OPAQUE; KEYS];
    all[0] = body(PRODUCED_AT, 9, 13);
    all[1] = body(FETCHED_AT, 12, 18);
    all[3] = body(METADATA_AT, 9, 13);
    all[8] = body(COMMITTED_AT, 8, 10);
    all[9] = body(GROUPS_FETCHED_AT, 6, 10);
    all[12] = body(CODE_AT, 4, 4);
    all[13] = body(CODE_AT, 4, 5);
    all[14] = body(CODE_AT, 4, 5);
    all
};
