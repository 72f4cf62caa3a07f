'use strict';

// What the page can send: one line per client event and per HTTP endpoint. A new line here is all
// that a new event or endpoint needs; the lists, path fields and samples of the page follow from it.

// A text sample is sent as text, any other as JSON; without a sample the event has no argument.
const CLIENT_EVENTS = [
  { event: 'message', about: 'to all others', sample: 'Hello from the test client' },
  { event: 'joinRoom', sample: { roomName: 'sales' } },
  { event: 'leaveRoom', sample: { roomName: 'sales' } },
  { event: 'roomMessage', about: 'to a room', sample: { room: 'sales', message: 'Hello, sales' } },
  { event: 'joinWhatsAppGeneral' },
  { event: 'joinWhatsAppRoom', about: 'older name of the same' },
  { event: 'joinWhatsAppCustomer', sample: { customerId: 'c42' } },
  { event: 'leaveWhatsAppCustomer', sample: { customerId: 'c42' } },
  { event: 'history', about: 'of a room', sample: { room: 'sales', limit: 50 } },
  { event: 'presence', about: 'of a room', sample: { room: 'sales' } },
  { event: 'auth:refresh', about: 'with a new token', sample: { token: '' } },
];

const NOTIFICATION = {
  type: 'success',
  title: 'Order paid',
  message: 'Order 1042 has been paid.',
  metadata: { orderId: 1042 },
};
const CHAT = { id: 'chat-1', senderId: 'agent-7', senderName: 'Ana', content: 'Good morning!' };
const CUSTOM = { orderId: 1042, state: 'shipped' };
const WHATSAPP_STATUS = { status: 'connected', metadata: { phone: '+34 600 000 000' } };
const WHATSAPP_MESSAGE = { messageId: 'wamid.1042', status: 'delivered' };
const CONVERSATION = { conversationId: 'conv-9', unread: 2 };

// :names in a path become fields of the form; PATH_SAMPLES prefills them.
const HTTP_CALLS = [
  { group: 'Notification', label: 'Notification to everybody', method: 'POST', path: '/websocket/notify/broadcast', body: NOTIFICATION },
  { group: 'Notification', label: 'Notification to a client', method: 'POST', path: '/websocket/notify/client/:clientId', body: NOTIFICATION },
  { group: 'Notification', label: 'Notification to a room', method: 'POST', path: '/websocket/notify/room/:roomName', body: NOTIFICATION },
  { group: 'Notification', label: 'Notification to a user', method: 'POST', path: '/websocket/notify/user/:userId', body: NOTIFICATION },
  { group: 'Chat message', label: 'Chat message to a client', method: 'POST', path: '/websocket/chat/client/:clientId', body: CHAT },
  { group: 'Chat message', label: 'Chat message to a room', method: 'POST', path: '/websocket/chat/room/:roomName', body: { ...CHAT, roomId: 'sales' } },
  { group: 'Chat message', label: 'Chat message to a user', method: 'POST', path: '/websocket/chat/user/:userId', body: CHAT },
  { group: 'Custom event', label: 'Custom event to everybody', method: 'POST', path: '/websocket/event/broadcast/:eventName', body: CUSTOM },
  { group: 'Custom event', label: 'Custom event to a client', method: 'POST', path: '/websocket/event/client/:clientId/:eventName', body: CUSTOM },
  { group: 'Custom event', label: 'Custom event to a room', method: 'POST', path: '/websocket/event/room/:roomName/:eventName', body: CUSTOM },
  { group: 'Custom event', label: 'Custom event to a user', method: 'POST', path: '/websocket/event/user/:userId/:eventName', body: CUSTOM },
  { group: 'WhatsApp and conversation', label: 'WhatsApp status', method: 'POST', path: '/websocket/whatsapp/status/:clientId', body: WHATSAPP_STATUS },
  { group: 'WhatsApp and conversation', label: 'WhatsApp message', method: 'POST', path: '/websocket/whatsapp/message/:clientId', body: WHATSAPP_MESSAGE },
  { group: 'WhatsApp and conversation', label: 'Conversation', method: 'POST', path: '/websocket/conversation/:clientId', body: CONVERSATION },
  { group: 'Publish', label: 'Any event to any mix of targets', method: 'POST', path: '/websocket/publish', body: { event: 'orderUpdated', data: CUSTOM, rooms: ['sales'], users: [], clients: [], all: false, except: [], volatile: false } },
  { group: 'Publish', label: 'Several events at once', method: 'POST', path: '/websocket/batch', body: { publish: [{ event: 'orderUpdated', data: CUSTOM, rooms: ['sales'] }, { event: 'orderUpdated', data: CUSTOM, all: true }] } },
  { group: 'Read', label: 'Server status', method: 'GET', path: '/websocket/status' },
  { group: 'Read', label: 'Clients', method: 'GET', path: '/websocket/clients', query: 'limit=50' },
  { group: 'Read', label: 'User', method: 'GET', path: '/websocket/users/:userId' },
  { group: 'Read', label: 'What became of an event', method: 'GET', path: '/websocket/events/:id', query: '' },
  { group: 'Read', label: 'What happened minute by minute', method: 'GET', path: '/websocket/analytics', query: '' },
  { group: 'Read', label: 'Client status', method: 'GET', path: '/websocket/clients/:clientId/status' },
  { group: 'Rooms', label: 'Rooms', method: 'GET', path: '/websocket/rooms', query: 'limit=50' },
  { group: 'Rooms', label: 'A room', method: 'GET', path: '/websocket/rooms/:roomName' },
  { group: 'Rooms', label: 'Who is in a room', method: 'GET', path: '/websocket/rooms/:roomName/presence' },
  { group: 'Rooms', label: 'History of a room', method: 'GET', path: '/websocket/rooms/:roomName/history', query: 'limit=50' },
  { group: 'Rooms', label: 'Position of a room', method: 'GET', path: '/websocket/rooms/:roomName/position' },
  { group: 'Control', label: 'Put a client into a room', method: 'PUT', path: '/websocket/clients/:clientId/rooms/:roomName' },
  { group: 'Control', label: 'Disconnect a client', method: 'POST', path: '/websocket/clients/:clientId/disconnect', body: { reason: 'please sign in again', reconnect: false } },
  { group: 'Control', label: 'Disconnect a user', method: 'POST', path: '/websocket/users/:userId/disconnect', body: { reason: 'please sign in again', reconnect: false } },
];

const PATH_SAMPLES = {
  clientId: '',
  roomName: 'sales',
  userId: 'agent-7',
  eventName: 'orderUpdated',
  id: '',
};

// Which events say that this client now is, or no longer is, in payload.room.
const MEMBERSHIP_EVENTS = new Map([
  ['roomJoined', 'joined'],
  ['roomLeft', 'left'],
  ['whatsappGeneralJoined', 'joined'],
  ['whatsappCustomerJoined', 'joined'],
  ['whatsappCustomerLeft', 'left'],
]);
