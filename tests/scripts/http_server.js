// The application of `tests/src/http/servers.rs` in Node.js, with its own `http`, or its `https`.
//
// Arguments: the port, and where it is to speak TLS a certificate and its key.
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');

fs.writeFileSync('/proc/self/comm', process.env.PROCESS_NAME);

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function answer(request, response) {
  let length = 0;
  for await (const part of request) length += part.length;
  const path = request.url.split('?')[0].split('/').slice(1);
  const end = (status, text) => {
    response.writeHead(status, text === undefined ? {} : { 'Content-Length': Buffer.byteLength(text) });
    response.end(text);
  };
  const [first, second, third] = path;
  if (first === 'items' && path.length === 1 && request.method === 'POST') return end(201, String(length));
  if (first === 'items' && path.length === 2) {
    if (request.method === 'PUT' || request.method === 'DELETE') return end(204);
    const count = Number(second);
    if (count > 1000000) return end(404, 'no such item');
    return end(200, 'x'.repeat(count));
  }
  if (first === 'items' && third === 'parts') {
    // Without a length, each part is a chunk.
    response.writeHead(200);
    for (let part = 0; part < Number(second); part++) response.write('0123456789');
    return response.end();
  }
  if (first === 'users' && path.length === 2) return end(200, second);
  if (first === 'cached') return end(304);
  if (first === 'old') {
    response.setHeader('Location', '/items/1');
    return end(302, 'moved');
  }
  if (first === 'broken') return end(500, 'broken');
  if (first === 'wait') {
    await sleep(Number(second));
    return end(200, 'waited');
  }
  if (first === 'events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    for (let event = 0; event < Number(second) && !response.destroyed; event++) {
      response.write(`id: ${event}\ndata: tick\n\n`);
      await sleep(50);
    }
    return response.end();
  }
  return end(404, 'nothing here');
}

const serve = (request, response) => {
  // A client that goes away while it sends its body.
  answer(request, response).catch(() => response.destroy());
};
const [port, cert, key] = process.argv.slice(2);
const server = cert
  ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, serve)
  : http.createServer(serve);
server.keepAliveTimeout = 60000;
server.listen(Number(port), '127.0.0.1');
