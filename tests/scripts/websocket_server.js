// A WebSocket server that echoes every message.
//
// Arguments: the name to run as, where to listen (`tcp`, or a UNIX socket's path), `plain`, `deflate` or `reset` (deflate
// without context takeover), and where it is to speak TLS a certificate and its key. Prints its port, or `ready`. Ends when
// its input does. A client has one in its own process, too (`websocket_client.js`).
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocketServer } = require('ws');

const deflate = {
  plain: false,
  deflate: true,
  reset: { serverNoContextTakeover: true, clientNoContextTakeover: true },
};

// A server that does not listen yet.
function serve(compression, cert, key) {
  const server = cert
    ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
    : http.createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: deflate[compression] });
  sockets.on('connection', (socket) => {
    // A client that breaks the rules is no concern of a server's.
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  return server;
}

function main(name, listen, ...options) {
  fs.writeFileSync('/proc/self/comm', name);
  const server = serve(...options);
  if (listen === 'tcp') {
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  } else {
    server.listen(listen, () => console.log('ready'));
  }
  process.stdin.resume().on('end', () => process.exit(0));
}

module.exports = serve;
if (require.main === module) main(...process.argv.slice(2));
