// A WebSocket server that echoes every message.
//
// Arguments: the name to run as, where to listen (`tcp`, or a UNIX socket's path), `plain`, `deflate` or
// `reset` (deflate without context takeover). Prints its port, or `ready`. Ends when its input does.
'use strict';

const fs = require('fs');
const http = require('http');
const { WebSocketServer } = require('ws');

const [name, listen, compression] = process.argv.slice(2);
fs.writeFileSync('/proc/self/comm', name);

const deflate = {
  plain: false,
  deflate: true,
  reset: { serverNoContextTakeover: true, clientNoContextTakeover: true },
}[compression];
const server = http.createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: deflate });
sockets.on('connection', (socket) => {
  // A client that breaks the rules is no concern of a server's.
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
if (listen === 'tcp') {
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
} else {
  server.listen(listen, () => console.log('ready'));
}
process.stdin.resume().on('end', () => process.exit(0));
