"""Producers and consumers of Kafka for a puppet to hold: `from kafka_client import *`.

`use("confluent", port)` says which library does what follows. `produce("orders", 0, [1, 20])` puts in 21 messages with
numbers from 0 on, in two batches. `join(["orders"], "billing")` makes it a member of a group, and `assign(["orders"], 3)` a
consumer of three partitions without one; it reads nothing before `take(21)` tells it to, and stops when it has so many.
`commit(0.5)` commits half of what it has not, and `standing("orders")` tells how far the group has committed each partition
and how far that is written, as the broker tells the library.

What was put in, taken out and committed is told by message: its number, and when the call that moved it was begun and when
it was done, in nanoseconds.
"""

import asyncio
import json
import threading
import time

# How long the broker may keep a consumer waiting that has nothing to read, in milliseconds.
WAIT = 50
PATIENCE = 20
target = {}


def now():
    return time.monotonic_ns()


class Confluent:
    """confluent-kafka, which is librdkafka."""

    producer = consumer = None

    def __init__(self, port, **more):
        self.settings = {
            "bootstrap.servers": f"127.0.0.1:{port}",
            "statistics.interval.ms": 100,
            "stats_cb": self.note,
            "log_level": 2,
            # It would come at any time.
            "enable.metrics.push": False,
        }
        self.more = more
        self.statistics = {}

    def note(self, text):
        statistics = json.loads(text)
        brokers = self.statistics.setdefault(statistics["name"], {"brokers": {}})
        brokers["ts"] = statistics["ts"]
        for name, broker in statistics["brokers"].items():
            brokers["brokers"][name] = broker["req"]

    def counted(self):
        """How many requests were sent by name, as it counts them itself, up to now."""
        asked = now() // 1000
        while min((told["ts"] for told in self.statistics.values()), default=0) < asked:
            if self.producer:
                self.producer.poll(0.02)
            elif self.consumer.poll(0.02):
                raise RuntimeError("a message that nobody has asked for")
        counts = {}
        for told in self.statistics.values():
            for requests in told["brokers"].values():
                for name, count in requests.items():
                    counts[name] = counts.get(name, 0) + count
        return {name: count for name, count in counts.items() if count}

    def produce(self, topic, batches, partition, compression):
        from confluent_kafka import Producer

        if not self.producer:
            settings = {"linger.ms": 5, "compression.type": compression, "partitioner": "consistent", **self.more}
            self.producer = Producer({**self.settings, **settings})
        failed = []
        for batch in batches:
            for number in batch:
                where = {} if partition is None else {"partition": partition}
                told = lambda error, _: error and failed.append(error.code())
                self.producer.produce(topic, str(number).encode(), key=str(number).encode(), on_delivery=told, **where)
            assert self.producer.flush(PATIENCE) == 0, "not delivered"
            yield
        if failed:
            raise RuntimeError(f"refused: {failed}")

    def flood(self, topic, seconds):
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.settings["bootstrap.servers"], "linger.ms": 5})
        value, count, begun = b"x" * 100, 0, now()
        while now() - begun < seconds * 1e9:
            try:
                for _ in range(1000):
                    producer.produce(topic, value)
                    count += 1
            except BufferError:
                producer.poll(0.001)
        assert producer.flush(PATIENCE) == 0, "not delivered"
        return count * 1e9 / (now() - begun)

    def consume(self, topics, group, partitions):
        from confluent_kafka import Consumer, TopicPartition

        settings = {
            "group.id": group or "none",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": WAIT,
            "session.timeout.ms": 45_000,
            **self.more,
        }
        self.consumer = Consumer({**self.settings, **settings})
        self.places = [TopicPartition(topic, one, 0) for topic in topics for one in range(partitions)]
        if not partitions:

            def assign(consumer, partitions):
                consumer.assign([])
                self.places = consumer.committed(partitions, PATIENCE)
                for place in self.places:
                    place.offset = max(place.offset, 0)

            self.consumer.subscribe(topics, on_assign=assign)
            while not self.places:
                assert self.consumer.poll(0.02) is None

    def read(self, is_on):
        # What is paused and resumed it may only read a second later.
        if is_on:
            self.consumer.assign(self.places)
        else:
            places = {(place.topic, place.partition): place for place in self.places}
            for place in self.consumer.position(self.consumer.assignment()):
                if place.offset >= 0:
                    places[place.topic, place.partition].offset = place.offset
            self.consumer.assign([])

    def poll(self):
        message = self.consumer.poll(0.02)
        if message is None:
            return []
        assert message.error() is None, message.error()
        return [(message.topic(), message.partition(), message.offset(), message.value())]

    def commit(self, offsets):
        from confluent_kafka import TopicPartition

        places = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        for told in self.consumer.commit(offsets=places, asynchronous=False):
            assert told.error is None, told.error

    def standing(self, topic):
        from confluent_kafka import TopicPartition

        told = []
        for partition in sorted(self.consumer.list_topics(topic, PATIENCE).topics[topic].partitions):
            place = TopicPartition(topic, partition)
            committed = self.consumer.committed([place], PATIENCE)[0].offset
            told.append([max(committed, -1), self.consumer.get_watermark_offsets(place, PATIENCE)[1]])
        return told

    def leave(self):
        self.consumer.close()


class KafkaPython:
    """kafka-python."""

    producer = consumer = None

    def __init__(self, port, **more):
        import kafka.net.connection as connection

        made = connection.KafkaConnection.__init__

        def begin_with_the_first_version(self, *arguments, **settings):
            # It does not read how this broker refuses a version of this request that it does not know.
            made(self, *arguments, **settings)
            self._api_versions_idx = 0

        if not target:
            connection.KafkaConnection.__init__ = begin_with_the_first_version
        self.settings = {"bootstrap_servers": f"127.0.0.1:{port}"}
        self.more = more

    def produce(self, topic, batches, partition, compression):
        from kafka import KafkaProducer

        if not self.producer:
            compression = None if compression == "none" else compression
            self.producer = KafkaProducer(**self.settings, linger_ms=5, compression_type=compression, **self.more)
        for batch in batches:
            sent = [self.producer.send(topic, b"%d" % number, key=b"%d" % number, partition=partition) for number in batch]
            self.producer.flush(PATIENCE)
            for one in sent:
                one.get(PATIENCE)
            yield

    def consume(self, topics, group, partitions):
        from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition

        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": WAIT}
        self.consumer = consumer = KafkaConsumer(**self.settings, **settings, group_id=group or None, **self.more)
        if partitions:
            places = [TopicPartition(topic, one) for topic in topics for one in range(partitions)]
            consumer.assign(places)
            consumer.pause(*places)
            return

        class Pause(ConsumerRebalanceListener):
            def on_partitions_revoked(self, revoked):
                pass

            def on_partitions_assigned(self, assigned):
                consumer.pause(*assigned)

        consumer.subscribe(topics, listener=Pause())
        for topic in topics:
            # It would join before it knows the topic's partitions, and again after that.
            consumer.partitions_for_topic(topic)
        while not consumer.assignment():
            # One that is cut short begins anew as another member.
            assert not consumer.poll(500)

    def read(self, is_on):
        (self.consumer.resume if is_on else self.consumer.pause)(*self.consumer.assignment())

    def poll(self):
        polled = self.consumer.poll(20).values()
        return [(one.topic, one.partition, one.offset, one.value) for messages in polled for one in messages]

    def commit(self, offsets):
        from kafka import TopicPartition
        from kafka.structs import OffsetAndMetadata

        places = {TopicPartition(*place): OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}
        self.consumer.commit(places)

    def standing(self, topic):
        from kafka import TopicPartition

        places = [TopicPartition(topic, one) for one in sorted(self.consumer.partitions_for_topic(topic))]
        highs = self.consumer.end_offsets(places)
        committed = [self.consumer.committed(place) for place in places]
        return [[-1 if offset is None else offset, highs[place]] for offset, place in zip(committed, places)]

    def leave(self):
        self.consumer.close()


class Aiokafka:
    """aiokafka, on a thread of its own."""

    producer = consumer = None

    def __init__(self, port, **more):
        self.settings = {"bootstrap_servers": f"127.0.0.1:{port}"}
        self.more = more
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def wait(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(PATIENCE)

    async def start(self, make, **settings):
        one = make(**self.settings, **settings, **self.more)
        await one.start()
        return one

    def produce(self, topic, batches, partition, compression):
        from aiokafka import AIOKafkaProducer

        if not self.producer:
            compression = None if compression == "none" else compression
            self.producer = self.wait(self.start(AIOKafkaProducer, linger_ms=5, compression_type=compression))
        for batch in batches:
            self.wait(self.send(topic, batch, partition))
            yield

    async def send(self, topic, batch, partition):
        send = self.producer.send
        for sent in [await send(topic, b"%d" % one, key=b"%d" % one, partition=partition) for one in batch]:
            await sent

    def consume(self, topics, group, partitions):
        self.wait(self.begin(topics, group, partitions))

    async def begin(self, topics, group, partitions):
        from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": WAIT}
        settings["group_id"] = group or None
        self.consumer = consumer = await self.start(AIOKafkaConsumer, session_timeout_ms=45_000, **settings)
        if partitions:
            places = [TopicPartition(topic, one) for topic in topics for one in range(partitions)]
            consumer.assign(places)
            consumer.pause(*places)
            return

        class Pause(ConsumerRebalanceListener):
            async def on_partitions_revoked(self, revoked):
                pass

            async def on_partitions_assigned(self, assigned):
                consumer.pause(*assigned)

        consumer.subscribe(topics, listener=Pause())
        while not consumer.assignment():
            await asyncio.sleep(0.02)

    def read(self, is_on):
        self.wait(self.switch(is_on))

    async def switch(self, is_on):
        (self.consumer.resume if is_on else self.consumer.pause)(*self.consumer.assignment())

    def poll(self):
        polled = self.wait(self.consumer.getmany(timeout_ms=20)).values()
        return [(one.topic, one.partition, one.offset, one.value) for messages in polled for one in messages]

    def commit(self, offsets):
        from aiokafka import TopicPartition

        self.wait(self.consumer.commit({TopicPartition(*place): offset for place, offset in offsets.items()}))

    def standing(self, topic):
        return self.wait(self.stand(topic))

    async def stand(self, topic):
        from aiokafka import TopicPartition

        places = [TopicPartition(topic, one) for one in sorted(self.consumer.partitions_for_topic(topic))]
        highs = await self.consumer.end_offsets(places)
        committed = [await self.consumer.committed(place) for place in places]
        return [[-1 if offset is None else offset, highs[place]] for offset, place in zip(committed, places)]

    def leave(self):
        self.wait(self.consumer.stop())


LIBRARIES = {"confluent": Confluent, "kafka-python": KafkaPython, "aiokafka": Aiokafka}
# What was taken and not committed, by topic and partition: [number, offset].
delivered = {}


def use(library, port, **more):
    """With more settings than the others have, in the library's own words."""
    target["client"] = LIBRARIES[library](port, **more)


def client():
    return target["client"]


def produce(topic, first, counts, partition=None, compression="none"):
    """So many messages in each batch, in one partition or by their keys."""
    batches = []
    for count in counts:
        batches.append(range(first, first + count))
        first += count
    told = []
    work = client().produce(topic, batches, partition, compression)
    for batch in batches:
        begun = now()
        next(work)
        told += [[number, begun, now()] for number in batch]
    next(work, None)
    return told


def try_produce(topic, count):
    """Batches of one message in partition 0. Tells for each whether it was delivered, or else why not."""
    told = []
    for number in range(count):
        try:
            produce(topic, number, [1], 0)
            told.append(None)
        except Exception as error:
            told.append(str(error))
    return told


def flood(topic, seconds):
    """As many messages as there can be, of 100 bytes each. Tells how many a second were delivered."""
    return client().flood(topic, seconds)


def join(topics, group):
    client().consume(topics, group, 0)


def assign(topics, partitions):
    """So many of each, from the beginning."""
    client().consume(topics, "", partitions)


def take(count):
    """So many messages: those that are there, and those that come."""
    begun = now()
    client().read(True)
    told = []
    while len(told) < count:
        assert now() - begun < PATIENCE * 1e9, f"{len(told)} of {count}"
        for topic, partition, offset, value in client().poll():
            told.append([int(value), begun, now()])
            delivered.setdefault((topic, partition), []).append([int(value), offset])
    client().read(False)
    assert len(told) == count, f"{len(told)} instead of {count}"
    return told


def wait(seconds):
    """Reads without a message to read."""
    client().read(True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not client().poll(), "a message"
    client().read(False)


def commit(share):
    """Commits so much of what is not committed, of each partition, and at least one message."""
    parts = {place: messages[: max(1, int(len(messages) * share))] for place, messages in delivered.items()}
    begun = now()
    client().commit({place: messages[-1][1] + 1 for place, messages in parts.items()})
    done = now()
    for place, messages in parts.items():
        del delivered[place][: len(messages)]
        if not delivered[place]:
            del delivered[place]
    return [[number, begun, done] for messages in parts.values() for number, _ in messages]


def standing(topic):
    """By partition, what is committed, or -1, and how far it is written."""
    return client().standing(topic)


def counted():
    return client().counted()


def leave():
    client().leave()
