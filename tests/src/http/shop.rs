//! A service in trouble: it asks the database once for each entry of a list, an endpoint of it takes three seconds, and its
//! payments fail one time in four. Beside that, a stream of events goes on, which is none of the trouble.

use std::time::{Duration, Instant};

use super::wire::Wire;
use crate::puppet::Puppet;

/// Bytes in a call: all.
const WHOLE: usize = usize::MAX >> 1;
/// How long an answer of the slow endpoint takes.
const SLOW: Duration = Duration::from_secs(3);

/// The processes that have to do with it. Dropping it ends them.
#[derive(Debug)]
pub struct Shop {
    customer: Puppet,
    payments: Wire,
    search: Wire,
    asked: Instant,
    stream: Wire,
}

impl Shop {
    /// Opens it: `worker` serves customers, and has a session with a database.
    pub fn open(worker: &mut Puppet) -> anyhow::Result<Self> {
        let mut customer = Puppet::start("shop-customer")?;
        worker.run("web_listener = listen()")?;
        let port = worker.ask("port(web_listener)")?;
        customer.run(&format!("web = connect(('127.0.0.1', {port}))"))?;
        worker.run("web = web_listener.accept()[0]")?;
        let mut stream = Wire::open()?;
        // One that is over, and one that is not.
        for again in [true, false] {
            stream.ask(b"GET /events HTTP/1.1\r\nHost: events.example.com\r\n\r\n", WHOLE)?;
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.answer(head, WHOLE)?;
            if again {
                stream.close()?;
                stream.connect()?;
            }
        }
        let (payments, search) = (Wire::open()?, Wire::open()?);
        let mut shop = Self { customer, payments, search, asked: Instant::now(), stream };
        // Every row is there before it grows.
        shop.search()?;
        shop.found()?;
        shop.pay(1, 1)?;
        Ok(shop)
    }

    /// The process that takes payments, and the one that makes them.
    pub fn names(&self) -> [&str; 2] {
        let [client, server] = &self.payments.names;
        [server, client]
    }

    /// The process whose searches are slow.
    pub fn slow(&self) -> &str {
        &self.search.names[1]
    }

    /// What goes wrong goes on, a little at a time.
    pub fn work(&mut self, worker: &mut Puppet) -> anyhow::Result<()> {
        self.customer.tell("http_exchange(web, 2, 100)")?;
        worker.run("http_serve(web, 2, 100)")?;
        self.customer.answer()?;
        worker.run("[run(0, 'SELECT 1') for _ in range(60)] and None")?;
        self.pay(6, 2)?;
        self.stream.answer(b"data: more\n\n", WHOLE)?;
        if self.asked.elapsed() > SLOW {
            self.found()?;
            self.search()?;
        }
        Ok(())
    }

    /// All is well again: so many payments succeed that those which failed are few.
    pub fn calm(&mut self) -> anyhow::Result<()> {
        for _ in 0..100 {
            self.pay(40, 0)?;
        }
        Ok(())
    }

    /// So many payments succeed, and so many fail.
    fn pay(&mut self, succeed: usize, fail: usize) -> anyhow::Result<()> {
        let post = "POST /v1/hooks HTTP/1.1\r\nHost: payments.example.com\r\nContent-Length: 2\r\n\r\n{}";
        self.payments.ask(post.repeat(succeed + fail).as_bytes(), WHOLE)?;
        let fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(succeed);
        let failed = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".repeat(fail);
        self.payments.answer(format!("{fine}{failed}").as_bytes(), WHOLE)
    }

    fn search(&mut self) -> anyhow::Result<()> {
        let get = "GET /search?q=x HTTP/1.1\r\nHost: search.example.com\r\n\r\n".repeat(5);
        self.asked = Instant::now();
        self.search.ask(get.as_bytes(), WHOLE)
    }

    fn found(&mut self) -> anyhow::Result<()> {
        let found = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".repeat(5);
        self.search.answer(found.as_bytes(), WHOLE)
    }
}
