// Both ends of HTTP/2 for an ingress between them, by Node's own http2:
//   http2_peer.js serve ADDRESS PORT         a server without TLS that does what the path says
//   http2_peer.js call URL CA METHOD PATH [BODY-BYTES] [name=value...]   one call; prints what came of it as JSON
'use strict';
const fs = require('fs');
const http2 = require('http2');

function serve(address, port) {
  let calls = 0;
  let sessions = 0;
  const server = http2.createServer();
  server.on('session', () => { ++sessions; });
  server.on('stream', (stream, headers) => {
    ++calls;
    const path = headers[':path'];
    stream.on('error', () => {});
    if (path === '/reset') return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    if (path === '/refuse-once' && calls % 2 === 1) return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    if (path.startsWith('/big')) {
      stream.respond({':status': 200});
      return stream.end(Buffer.alloc(Number(path.split('/')[2]), 'x'));
    }
    if (path === '/unavailable') {
      return stream.respond({':status': 200, 'content-type': 'application/grpc', 'grpc-status': '14'}, {endStream: true});
    }
    if (path === '/stream') {
      // Each piece comes back as it comes.
      stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
      stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0', 'grpc-message': 'done'}));
      return stream.pipe(stream);
    }
    let bytes = 0;
    stream.on('data', (data) => { bytes += data.length; });
    stream.on('trailers', (trailers) => { headers.trailers = {...trailers}; });
    stream.on('end', () => {
      stream.respond({':status': 200, 'content-type': 'application/json'});
      stream.end(JSON.stringify({headers: {...headers}, bytes, calls, sessions}));
    });
  });
  server.listen(Number(port), address);
}

function call(url, ca, method, path, bytes, fields) {
  const client = http2.connect(url, ca === '-' ? {} : {
    ca: fs.readFileSync(ca), lookup: (_name, _options, done) => done(null, [{address: '127.0.0.1', family: 4}])});
  const headers = {':method': method, ':path': path, te: 'trailers'};
  for (const field of fields) headers[field.split('=')[0]] = field.slice(field.indexOf('=') + 1);
  const stream = client.request(headers, {endStream: bytes === 0, waitForTrailers: bytes > 0});
  const result = {headers: null, trailers: null, bytes: 0, text: '', error: null};
  const chunks = [];
  stream.on('wantTrailers', () => stream.sendTrailers({'x-sum': '7'}));
  stream.on('response', (got) => { result.headers = {...got}; });
  stream.on('trailers', (got) => { result.trailers = {...got}; });
  stream.on('data', (data) => { result.bytes += data.length; if (chunks.length < 4) chunks.push(data); });
  stream.on('error', (error) => { result.error = error.message; });
  client.on('error', (error) => { result.error = error.message; });
  stream.on('close', () => {
    result.text = Buffer.concat(chunks).toString('latin1').slice(0, 2000);
    console.log(JSON.stringify(result));
    client.close();
  });
  if (bytes > 0) stream.end(Buffer.alloc(bytes, 'y'));
}

const [, , what, ...rest] = process.argv;
if (what === 'serve') serve(...rest);
else call(rest[0], rest[1], rest[2], rest[3], Number(rest[4] || 0), rest.slice(5));
