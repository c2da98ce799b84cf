// HTTPS of Node.js, whose OpenSSL is a part of the program, and moves its records through memory. It does as it is told, as
// a puppet (`puppet.js`) does.
'use strict';

const { constants } = require('crypto');
const fs = require('fs');
const https = require('https');
const serve = require('./puppet.js');

const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
const counts = { requests: 0, resumed: 0 };
const known = new Map();

// What the lines use.
const words = { ask, briefly, listen, counts, constants };

// Asks for the same so often over one connection; bytes of all bodies.
async function ask(port, path, times) {
  let bytes = 0;
  for (let time = 0; time < times; time++) {
    bytes += await new Promise((resolve, reject) => {
      const request = https.get({ host: '127.0.0.1', port, path, agent }, (answer) => {
        let length = 0;
        answer.on('data', (part) => (length += part.length));
        answer.on('end', () => resolve(length));
      });
      request.on('error', reject);
    });
  }
  return bytes;
}

// So many connections, with a request on each, in a version of TLS; how many went on with a session of before.
async function briefly(port, times, version) {
  const options = { rejectUnauthorized: false, minVersion: version, maxVersion: version };
  const once = new https.Agent({ ...options, keepAlive: false });
  let resumed = 0;
  for (let time = 0; time < times; time++) {
    resumed += await new Promise((resolve, reject) => {
      const request = https.get({ host: '127.0.0.1', port, path: '/page', agent: once }, (answer) => {
        const isResumed = answer.socket.isSessionReused() ? 1 : 0;
        answer.resume();
        answer.socket.on('close', () => resolve(isResumed));
      });
      request.on('error', reject);
    });
  }
  return resumed;
}

// Serves 100,000 bytes at any path, with more options; the port. Who comes again may go on with a session, by its ticket or,
// without any, by its id.
function listen(certificate, key, options = {}) {
  const files = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  const server = https.createServer({ ...files, ...options }, (request, answer) => {
    counts.requests++;
    counts.resumed += request.socket.isSessionReused() ? 1 : 0;
    answer.end(Buffer.alloc(100_000, 'x'));
  });
  server.on('newSession', (id, session, done) => {
    known.set(id.toString('hex'), session);
    done();
  });
  server.on('resumeSession', (id, done) => done(null, known.get(id.toString('hex')) ?? null));
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

serve(words);
