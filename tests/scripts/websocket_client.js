// A WebSocket client that does as it is told, and checks every echo; as `websocket_client.py`, to which
// `reset` is added: deflate without context takeover. With a certificate and its key behind its arguments, it is the server
// as well, which speaks TLS.
'use strict';

const assert = require('assert');
const fs = require('fs');
const { once } = require('events');
const readline = require('readline');
const WebSocket = require('ws');
const serve = require('./websocket_server.js');

const [name, where, compression, connections, ...certificate] = process.argv.slice(2);
fs.writeFileSync('/proc/self/comm', name);

const deflate = {
  plain: false,
  deflate: true,
  reset: { serverNoContextTakeover: true, clientNoContextTakeover: true },
}[compression];
const pattern = Buffer.from([0x81, 0x05, 0x88, 0x82, 0xfe, 0x00, 0x7f]);
let counter = 0;

const payload = (kind, size) =>
  kind === 'text' ? Buffer.alloc(size, 'x') : Buffer.alloc(size, pattern);

async function ping(socket, size) {
  const data = String(counter++).padStart(size, '.');
  const answered = once(socket, 'pong');
  socket.ping(data);
  const [answer] = await answered;
  assert.strictEqual(answer.toString(), data);
}

async function take(socket, step) {
  if ('ping' in step) {
    await ping(socket, step.ping);
    return 0;
  }
  const binary = step.kind === 'binary';
  const parts = step.sizes.map((size) => payload(step.kind, size));
  const echoed = once(socket, 'message');
  for (const [place, part] of parts.entries()) {
    if (place > 0 && typeof step.pings === 'number') {
      await ping(socket, step.pings);
    }
    socket.send(part, { binary, fin: place + 1 === parts.length });
  }
  const [echo, isBinary] = await echoed;
  assert.strictEqual(isBinary, binary);
  assert.ok(echo.equals(Buffer.concat(parts)), 'the echo differs');
  return 1;
}

async function main() {
  let url = where.startsWith('ws') ? where : `ws+unix://${where}`;
  if (certificate.length) {
    const server = serve(compression, ...certificate).listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `wss://127.0.0.1:${server.address().port}/`;
  }
  const opened = [];
  for (let number = 0; number < Number(connections); number++) {
    const socket = new WebSocket(url, { perMessageDeflate: deflate, rejectUnauthorized: false });
    await once(socket, 'open');
    opened.push(socket);
  }
  console.log('open');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    if ('close' in order) {
      for (const socket of opened) {
        const closed = once(socket, 'close');
        socket.close(order.close);
        await closed;
      }
      console.log('closed');
      continue;
    }
    let echoes = 0;
    for (const socket of opened) {
      for (const step of order.steps) {
        echoes += await take(socket, step);
      }
    }
    console.log(echoes);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
