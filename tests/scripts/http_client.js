// Calls over HTTP, of a process that does as it is told: as a puppet (`puppet.js`), it evaluates a line at a time and
// answers with a line of JSON. What it can be told is what `http_client.py` can.
'use strict';

const http = require('http');
const https = require('https');
const undici = require('undici');
const serve = require('./puppet.js');

const kept = { keepAlive: true, maxSockets: 1 };
const agent = new http.Agent(kept);
let pool = new undici.Agent({ connections: 1 });
let secure;
let ask;

// What the lines use.
const words = { use, speak, make, askPath, askAs };

function use(library) {
  ask = library === 'undici' ? byUndici : byHttp;
}

// Over TLS, speaks this version of it from now on, over connections of its own, whoever the server is.
function speak(version) {
  const options = { rejectUnauthorized: false, minVersion: version, maxVersion: version };
  secure = new https.Agent({ ...kept, ...options });
  pool = new undici.Agent({ connections: 1, connect: options });
}

// Parts of a body whose length is not told.
function* parts(data) {
  for (let at = 0; at < data.length; at += 9000) yield data.subarray(at, at + 9000);
}

function byHttp(url, method, data, chunked) {
  return new Promise((resolve, reject) => {
    const headers = data && !chunked ? { 'Content-Length': data.length } : {};
    const [library, by] = url.startsWith('https:') ? [https, secure] : [http, agent];
    const request = library.request(url, { method, agent: by, headers }, (answer) => {
      let length = 0;
      answer.on('data', (part) => (length += part.length));
      answer.on('end', () => resolve([answer.statusCode, length]));
      answer.on('error', reject);
    });
    request.on('error', reject);
    if (data && chunked) for (const part of parts(data)) request.write(part);
    else if (data) request.write(data);
    request.end();
  });
}

async function byUndici(url, method, data, chunked) {
  const body = data && chunked ? parts(data) : data;
  const answer = await undici.request(url, { method, body, dispatcher: pool });
  return [answer.statusCode, (await answer.body.arrayBuffer()).byteLength];
}

// A GET request of these options; its status.
function get(options) {
  return new Promise((resolve, reject) => {
    const request = http.get({ ...options, agent }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode));
    });
    request.on('error', reject);
  });
}

// Asks for the same over a UNIX socket so often; the statuses.
async function askPath(socketPath, path, times) {
  const statuses = [];
  for (let time = 0; time < times; time++) statuses.push(await get({ socketPath, path }));
  return statuses;
}

// Asks a port for the same, in the name of each of these hosts; the statuses.
async function askAs(port, path, hosts) {
  const statuses = [];
  for (const host of hosts) {
    statuses.push(await get({ host: '127.0.0.1', port, path, headers: { Host: host } }));
  }
  return statuses;
}

async function make(url, calls) {
  const told = [];
  for (const { method, path, sends, chunked } of JSON.parse(calls)) {
    told.push(await ask(url + path, method, sends === null ? null : Buffer.alloc(sends, 'x'), chunked));
  }
  return told;
}

serve(words);
