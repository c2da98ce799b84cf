// A server of Node.js, whose parser is llhttp in its strict mode, that tells which requests it has answered: as a puppet
// (`puppet.js`), it evaluates a line at a time and answers with a line of JSON.
'use strict';

const http = require('http');
const serve = require('./puppet.js');

const answered = [];

// What the lines use.
const words = { listen, tell };

const server = http.createServer({ requireHostHeader: false }, (request, response) => {
  let length = 0;
  request.on('data', (part) => (length += part.length));
  request.on('end', () => {
    response.on('finish', () => answered.push([request.method, length]));
    response.end('ok');
  });
});

// Listens, and tells the port.
function listen() {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

// Method, and bytes of the body, of each request that has been answered.
function tell() {
  return answered;
}

serve(words);
