//! What is done with what messages tell.

use super::in_flight::{HAS_MESSAGES, Request};
use super::layout::{Api, Counters, ErrorCode, LATENCY_BOUNDS};
use super::reader::GO_ON;
use super::schema::{Action, KEYS, REQUEST_AT, REQUESTS, RESPONSE_AT, RESPONSES, Slot};
use super::{Kafka, REQUEST_LEAST, RESPONSE_LEAST, Stream, is_known};
use crate::layout::Role;
use crate::layout::buckets::bucket;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::NONE;
use crate::queues::layout::{KEY_MAX, OTHER_TOPIC};
use crate::queues::topics::{Event, Topics};
use crate::stream::bytes::hide_field;

/// The API keys of Produce, Fetch and `OffsetFetch`.
const PRODUCE: u8 = 0;
const FETCH: u8 = 1;
const OFFSET_FETCH: u8 = 9;

/// Of a record batch's attributes: it holds no messages, but marks of transactions.
const CONTROL: u64 = 1 << 5;

/// Above the process in a key of what is learnt: it is the name of a group.
const IS_GROUP: u64 = 1 << 32;

#[inline(always)]
fn counters(connection: &mut Connection) -> &mut Counters {
    connection.details.kafka_mut()
}

/// Counts one more.
#[inline(always)]
fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}

/// Counts one more at a place.
#[inline(always)]
fn count_at(counters: &mut [u32], place: u8) {
    // As of Redis' commands: no copy of the place is used but this one, which is compared.
    let place = hide_field(&place);
    if let Some(counter) = counters.get_mut(usize::from(place)) {
        count(counter);
    }
}

/// Counts the error that a response tells of, if it does.
#[inline(always)]
fn count_error(connection: &mut Connection, code: u64) {
    let code = (code as u16).cast_signed();
    if code == 0 {
        return;
    }
    let counters = counters(connection);
    count_at(&mut counters.errors, ErrorCode::index(code));
    count(&mut counters.counted);
}

impl Stream {
    /// A message is over: counts it, if it could not be looked into.
    #[inline(always)]
    fn end_message(&mut self, connection: &mut Connection) {
        let unparsed = &mut counters(connection).unparsed;
        *unparsed = unparsed.wrapping_add(u32::from(self.reader.unparsed));
        self.reader.begin();
    }

    /// The number of the consumer group whose name is in the text.
    #[inline(always)]
    fn group_number<S: Topics>(&self, source: &mut S, connection: &mut Connection) -> u32 {
        let length = hide_field(&self.reader.text_length);
        if length == 0 || length > KEY_MAX {
            OTHER_TOPIC
        } else {
            source.group(connection, &self.reader.text, length)
        }
    }

    /// A topic's name is in the text.
    #[inline(always)]
    fn name_topic<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) {
        let length = hide_field(&self.reader.text_length);
        self.topic = if length == 0 || length > KEY_MAX {
            OTHER_TOPIC
        } else {
            source.topic(connection, &self.reader.text, length)
        };
        self.choose_queue(source, connection);
    }

    /// A topic's id is in its slots.
    #[inline(always)]
    fn identify_topic<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) {
        self.set_topic_key();
        let topic = source.learnt(connection, &self.learnt);
        self.topic = if topic == NONE { OTHER_TOPIC } else { topic };
        self.choose_queue(source, connection);
    }

    #[inline(always)]
    fn set_topic_key(&mut self) {
        self.learnt.id = [self.reader.slot(Slot::TOPIC_ID), self.reader.slot(Slot::TOPIC_ID_LOW)];
        self.learnt.address = [0; 2];
        self.learnt.process = 0;
    }

    /// By which a client's group is known.
    #[inline(always)]
    fn set_group_key(&mut self, client_id: [u64; 2], connection: &Connection) {
        self.learnt.id = client_id;
        self.learnt.process = u64::from(connection.owner.tgid) | IS_GROUP;
        self.learnt.address = [0; 2];
        if connection.role == Role::Server as u8 {
            self.learnt.address = connection.remote_words();
        }
    }

    /// What the partitions that come next are of.
    #[inline(always)]
    fn choose_queue<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) {
        let (topic, group) = (hide_field(&self.topic), hide_field(&self.group));
        self.told.queue = if !is_known(topic) || group == NONE {
            topic
        } else if is_known(group) {
            source.topic_group(connection, topic, group)
        } else {
            OTHER_TOPIC
        };
    }

    /// Tells of the partition in hand.
    #[inline(always)]
    fn tell<S: Topics>(&mut self, event: Event, source: &mut S, connection: &mut Connection) -> bool {
        self.told.event = event as u32;
        self.told.partition = self.reader.slot(Slot::Partition) as u32;
        if !matches!(event, Event::Delivered | Event::Writing) {
            self.told.offset = self.reader.slot(Slot::Offset);
            self.told.records = 0;
        }
        // An offset of -1 is none.
        if self.told.offset.cast_signed() < 0 && !matches!(event, Event::Writing) {
            return false;
        }
        source.follow(connection, &self.told)
    }

    /// A record batch's header is over: tells how many messages there are in it.
    #[inline(always)]
    fn take_batch(&mut self) -> u32 {
        let first = self.reader.slot(Slot::Offset);
        let delta = self.reader.slot(Slot::LAST_DELTA) as u32;
        let written = self.reader.slot(Slot::WRITTEN);
        self.told.offset = first;
        self.told.last = first.wrapping_add(u64::from(delta));
        self.told.written_ms = if written.cast_signed() < 0 { 0 } else { written };
        let records = self.reader.slot(Slot::Records) as u32;
        let is_control = self.reader.slot(Slot::ATTRIBUTES) & CONTROL != 0;
        self.told.records = if is_control || records.cast_signed() < 0 { 0 } else { records };
        self.told.records
    }
}

impl Kafka {
    /// Does what the client's message asks for.
    #[inline(always)]
    pub(super) fn act_on_request<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let action = hide_field(&self.client.reader.action);
        let stream = &mut self.client;
        match action {
            action if action == Action::Size as u8 => {
                let is_one = stream.reader.begin_message(REQUEST_AT, REQUEST_LEAST);
                if !is_one {
                    return Desync::code(Some(Desync::Length));
                }
            }
            action if action == Action::Header as u8 => return self.begin_request(source, connection),
            action if action == Action::Over as u8 => {
                stream.end_message(connection);
            }
            action if action == Action::Topic as u8 => stream.name_topic(source, connection),
            action if action == Action::TopicId as u8 => stream.identify_topic(source, connection),
            action if action == Action::Group as u8 => self.name_group(source, connection),
            action if action == Action::Acks as u8 => {
                let acks = stream.reader.slot(Slot::Code);
                if acks == 0 {
                    let correlation = hide_field(&stream.correlation);
                    self.in_flight.take_back(correlation);
                }
            }
            action if action == Action::Replica as u8 => {
                stream.is_replica |= u8::from((stream.reader.slot(Slot::Code) as u32).cast_signed() >= 0);
            }
            action if action == Action::Fetching as u8 => {
                let is_consumer = stream.is_replica == 0;
                if is_consumer && stream.tell(Event::Fetching, source, connection) {
                    let correlation = hide_field(&self.client.correlation);
                    self.in_flight.mark(correlation, HAS_MESSAGES);
                }
            }
            action if action == Action::Batch as u8 => {
                let records = stream.take_batch();
                let queue = hide_field(&stream.told.queue);
                source.count_put(connection, queue, records);
                stream.tell(Event::Writing, source, connection);
            }
            action if action == Action::Committed as u8 => {
                stream.tell(Event::Committed, source, connection);
            }
            _ => {}
        }
        GO_ON
    }

    /// A request's header is over.
    #[inline(always)]
    fn begin_request<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let is_broker = self.keep_client();
        let stream = &mut self.client;
        let key = stream.reader.slot(Slot::Code);
        let version = stream.reader.slot(Slot::Version);
        let is_sound = key < KEYS as u64 && version < 0x80;
        if !is_sound {
            return Desync::code(Some(Desync::Header));
        }
        let correlation = stream.reader.slot(Slot::Correlation) as u32;
        let (key, version) = (key as u8, version as u8);
        stream.correlation = correlation;
        stream.is_replica = u8::from(is_broker);
        stream.topic = NONE;
        stream.group = NONE;
        self.in_flight.push(Request {
            start_ns: source.now_ns(),
            correlation,
            key,
            version,
            flags: 0,
            is_one: 1,
        });
        if self.tentative == 0 {
            stream.reader.begin_body(REQUESTS[usize::from(key) & (KEYS - 1)], version);
        } else {
            stream.reader.leave();
        }
        let counters = counters(connection);
        count_at(&mut counters.requests, Api::index(key));
        count(&mut counters.counted);
        if key == FETCH {
            stream.set_group_key(self.client_id, connection);
            stream.group = source.learnt(connection, &stream.learnt);
        }
        GO_ON
    }

    /// A consumer group's name is in the text.
    #[inline(always)]
    fn name_group<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) {
        let stream = &mut self.client;
        stream.set_group_key(self.client_id, connection);
        let length = hide_field(&stream.reader.text_length);
        if length > 0 && length <= KEY_MAX {
            source.learn(&stream.learnt, &stream.reader.text, length);
        }
        stream.group = if length == 0 { NONE } else { stream.group_number(source, connection) };
    }

    /// Does what the server's message asks for.
    #[inline(always)]
    pub(super) fn act_on_response<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let stream = &mut self.server;
        let action = hide_field(&stream.reader.action);
        match action {
            action if action == Action::Size as u8 => {
                let is_one = stream.reader.begin_message(RESPONSE_AT, RESPONSE_LEAST);
                if !is_one {
                    return Desync::code(Some(Desync::Length));
                }
            }
            action if action == Action::Header as u8 => return self.begin_response(source, connection),
            action if action == Action::Over as u8 => self.end_response(source, connection),
            action if action == Action::Topic as u8 => stream.name_topic(source, connection),
            action if action == Action::TopicId as u8 => stream.identify_topic(source, connection),
            action if action == Action::Learn as u8 => {
                stream.set_topic_key();
                let length = hide_field(&stream.reader.text_length);
                if length > 0 && length <= KEY_MAX {
                    source.learn(&stream.learnt, &stream.reader.text, length);
                }
            }
            action if action == Action::Error as u8 => {
                count_error(connection, stream.reader.slot(Slot::Code));
            }
            action if action == Action::Group as u8 => {
                stream.group = stream.group_number(source, connection);
            }
            action if action == Action::Known as u8 => {
                let group = hide_field(&stream.group);
                if is_known(group) {
                    stream.tell(Event::Known, source, connection);
                }
            }
            action if action == Action::Watermark as u8 => {
                count_error(connection, stream.reader.slot(Slot::Code));
                if stream.is_replica == 0 {
                    stream.tell(Event::Watermark, source, connection);
                }
            }
            action if action == Action::Written as u8 => {
                let code = stream.reader.slot(Slot::Code);
                count_error(connection, code);
                if code == 0 {
                    stream.tell(Event::Written, source, connection);
                }
            }
            action if action == Action::Batch as u8 => {
                stream.take_batch();
                if stream.is_replica == 0 {
                    stream.tell(Event::Delivered, source, connection);
                }
            }
            _ => {}
        }
        GO_ON
    }

    /// A response's correlation id is known.
    #[inline(always)]
    fn begin_response<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let correlation = self.server.reader.slot(Slot::Correlation) as u32;
        if !self.in_flight.is_next(correlation) {
            if self.tentative != 0 {
                return Desync::code(Some(Desync::Header));
            }
            if self.in_flight.drop_before(correlation) {
                // It is looked at again, with the next request.
                self.server.reader.again();
                return GO_ON;
            }
            count(&mut counters(connection).unmatched);
            self.server.reader.leave();
            return GO_ON;
        }
        if self.tentative != 0 {
            self.tentative = 0;
            self.confirmed = 1;
        }
        let request = &self.in_flight.answered;
        let (key, version) = (hide_field(&request.key), hide_field(&request.version));
        let stream = &mut self.server;
        stream.topic = NONE;
        stream.group = NONE;
        stream.is_replica = hide_field(&self.client.is_replica);
        stream.reader.begin_body(RESPONSES[usize::from(key) & (KEYS - 1)], version);
        if key == FETCH || key == OFFSET_FETCH {
            stream.set_group_key(self.client_id, connection);
            stream.group = source.learnt(connection, &stream.learnt);
        }
        GO_ON
    }

    /// A response is over.
    #[inline(always)]
    fn end_response<S: Topics>(&mut self, source: &mut S, connection: &mut Connection) {
        let request = &mut self.in_flight.answered;
        let is_one = hide_field(&request.is_one) != 0;
        request.is_one = 0;
        let (key, flags) = (hide_field(&request.key), hide_field(&request.flags));
        let elapsed_ns = source.now_ns().saturating_sub(request.start_ns);
        self.server.end_message(connection);
        let counters = counters(connection);
        if !is_one || key > FETCH {
            return;
        }
        if key == FETCH && flags & HAS_MESSAGES == 0 {
            count(&mut counters.waits);
            return;
        }
        let (buckets, sum) = if key == PRODUCE {
            (&mut counters.produces, &mut counters.produce_ns)
        } else {
            (&mut counters.fetches, &mut counters.fetch_ns)
        };
        *sum = sum.wrapping_add(elapsed_ns);
        count_at(buckets, bucket(&LATENCY_BOUNDS, elapsed_ns) as u8);
    }
}
