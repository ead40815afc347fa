/**
 * What a broadcast costs at least with `ws`: whatever text comes on `/control` goes to everyone on
 * `/graphql`. `node bare.ts PORT`
 */
import { createServer } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'

const clients = new Set<WebSocket>()
const server = createServer((_request, response) => response.end('up'))
const sockets = new WebSocketServer({ server, perMessageDeflate: false })
sockets.on('connection', (socket, request) => {
  if (request.url === '/control') {
    socket.on('message', (data) => {
      const text = String(data)
      for (const client of clients) client.send(text)
    })
    return
  }
  clients.add(socket)
  socket.on('close', () => clients.delete(socket))
})
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'))
