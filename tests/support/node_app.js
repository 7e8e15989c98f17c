// Node as an application behind an ingress, and as a WebSocket client before it:
//   node_app.js serve ADDRESS PORT          HTTP/1.1 and WebSocket
//   node_app.js call HOST PORT CA TEXT...   each text is sent by WebSocket and its echo printed
'use strict';
const fs = require('fs');
const http = require('http');
const WebSocket = require('ws');

function serve(address, port) {
  const server = http.createServer((request, response) => {
    let bytes = 0;
    request.on('data', (data) => { bytes += data.length; });
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({server: `node ${process.version}`, url: request.url, bytes, headers: request.headers}));
    });
  });
  const sockets = new WebSocket.Server({server});
  sockets.on('connection', (socket, request) => {
    socket.on('message', (data, isBinary) => {
      socket.send(isBinary ? data : `${request.url} ${data}`, {binary: isBinary});
    });
  });
  server.listen(Number(port), address);
}

function call(host, port, ca, texts) {
  const lookup = (_name, options, done) => options.all ? done(null, [{address: '127.0.0.1', family: 4}])
                                                       : done(null, '127.0.0.1', 4);
  const socket = new WebSocket(`wss://${host}:${port}/node`, {ca: fs.readFileSync(ca), lookup});
  socket.on('open', () => { for (const text of texts) socket.send(text); });
  let left = texts.length;
  socket.on('message', (data) => {
    console.log(data.toString());
    if (--left === 0) socket.close(1000, 'enough');
  });
  socket.on('close', (code) => { console.log(`closed ${code}`); });
}

const [, , what, ...rest] = process.argv;
if (what === 'serve') serve(...rest);
else call(rest[0], rest[1], rest[2], rest.slice(3));
