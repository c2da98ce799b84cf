// HTTPS of Node.js, whose OpenSSL is a part of the program, and moves its records through memory. It does as it is told, as
// a puppet (`puppet.js`) does.
'use strict';

const fs = require('fs');
const https = require('https');
const serve = require('./puppet.js');

const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
const counts = { requests: 0 };

// What the lines use.
const words = { ask, listen, counts };

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

// Serves 100,000 bytes at any path; the port.
function listen(certificate, key) {
  const files = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  const server = https.createServer(files, (request, answer) => {
    counts.requests++;
    answer.end(Buffer.alloc(100_000, 'x'));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

serve(words);
