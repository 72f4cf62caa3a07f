'use strict';

// One Socket.IO connection through the stock client. Every event, acknowledgement and change of
// state goes to the log. Events of its own: 'change' (show the state anew), 'sessionlost' (the
// server no longer knows this client's rooms), 'event' with {name, payload} of each one received,
// 'answer' with {event, argument, answer} of each acknowledgement, in its place among the events.

const ACKNOWLEDGEMENT_TIMEOUT_MS = 10000;
const TRANSPORTS = {
  upgrade: ['polling', 'websocket'],
  websocket: ['websocket'],
  polling: ['polling'],
};

class Connection extends EventTarget {
  #log;
  #socket = null;
  #freshReason = null;
  #connectedAt = '';
  #isReplaying = false;
  #replayed = 0;
  state = 'disconnected'; // or connecting, connected, reconnecting, refused
  problem = ''; // why there is no connection, in words

  constructor(log) {
    super();
    this.#log = log;
  }

  get isConnected() {
    return this.#socket?.connected ?? false;
  }

  get id() {
    return this.#socket?.id;
  }

  get transport() {
    return this.isConnected ? this.#socket.io.engine.transport.name : undefined;
  }

  // 'yes, 3 events replayed', 'no', or 'no (reason)'; undefined while not connected.
  get recovered() {
    if (!this.isConnected) return undefined;
    if (this.#socket.recovered) {
      const events = this.#replayed === 1 ? 'event' : 'events';
      return `yes, ${this.#replayed} ${events} replayed`;
    }
    return this.#freshReason ? `no (${this.#freshReason})` : 'no';
  }

  // `server` is a URL object; `readToken` is asked again at each reconnect.
  connect({ server, namespace, transport, readToken }) {
    this.disconnect();
    this.#socket = io(server.origin + namespace, {
      path: `${server.pathname.replace(/\/+$/, '')}/socket.io`,
      transports: TRANSPORTS[transport],
      auth: (answer) => answer(readToken() ? { token: readToken() } : {}),
      forceNew: true,
    });
    this.#follow(this.#socket);
    this.#enter('connecting');
  }

  disconnect() {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    this.#freshReason = null;
    this.problem = '';
    socket.disconnect();
    this.#enter('disconnected');
  }

  // Breaks the line as a lost network would: the client reconnects by itself, and recovers.
  breakLine() {
    this.#socket?.io.engine.close();
  }

  // Resolves with the acknowledgement; rejects when there is none in time or no connection.
  async emit(event, argument) {
    if (!this.isConnected) throw new Error('Not connected. Connect first.');
    this.#log.add('out', event, argument);
    const args = argument === undefined ? [] : [argument];
    const socket = this.#socket.timeout(ACKNOWLEDGEMENT_TIMEOUT_MS);
    return new Promise((resolve, reject) => {
      // By callback: a promise has its turn after events that followed the acknowledgement.
      socket.emit(event, ...args, (error, answer) => {
        if (error) {
          reject(error);
          return;
        }
        this.#isReplaying = false;
        this.#log.add('ack', event, answer);
        this.#announce('answer', { event, argument, answer });
        resolve(answer);
      });
    });
  }

  #follow(socket) {
    const whileCurrent = (handle) => (...args) => {
      if (socket === this.#socket) handle(...args);
    };
    socket.on('connect', whileCurrent(() => {
      this.problem = '';
      this.#log.add('state', 'connect', { id: socket.id, recovered: socket.recovered });
      this.#enter('connected');
    }));
    socket.on('connect_error', whileCurrent((error) => {
      this.#log.add('state', 'connect_error', { message: error.message, data: error.data });
      this.problem = `Could not connect: ${error.message}`;
      this.#enter(socket.active ? 'reconnecting' : 'refused');
    }));
    socket.on('disconnect', (reason, details) => {
      // The CloseEvent of a WebSocket; polling has none.
      const { code, reason: closeReason } = details?.context ?? {};
      this.#log.add('state', 'disconnect', { reason, code, closeReason });
      if (socket !== this.#socket) return;
      this.#freshReason = null;
      this.problem = ['Connection lost:', reason, code, closeReason].filter(Boolean).join(' ');
      this.#enter(socket.active ? 'reconnecting' : 'disconnected');
    });
    socket.onAny(whileCurrent((name, ...args) => this.#receive(name, args)));
    socket.io.on('reconnect_attempt', whileCurrent((attempt) => {
      this.#log.add('state', 'reconnect_attempt', { attempt });
    }));
    socket.io.on('open', whileCurrent(() => {
      socket.io.engine.on('upgrade', whileCurrent((transport) => {
        this.#log.add('state', 'upgrade', { transport: transport.name });
        this.#announce('change');
      }));
    }));
  }

  #receive(name, args) {
    const acknowledge = typeof args.at(-1) === 'function' ? args.pop() : null;
    const [payload] = args;
    // The offset of an event in the server's log; events that are not kept there have none.
    const offset = args.length > 1 && typeof args.at(-1) === 'string' ? args.at(-1) : undefined;
    const isReplayed = this.#isOfReplay(name, payload, offset);
    this.#log.add('in', name, payload, { offset, isReplayed });
    if (acknowledge) {
      acknowledge();
      this.#log.add('ack', name, 'acknowledged to the server');
    }
    if (name === 'connected') {
      this.#freshReason = payload?.reason ?? null;
      this.#connectedAt = payload?.timestamp ?? '';
      this.#isReplaying = this.#socket.recovered;
      this.#replayed = 0;
      this.#announce('change');
    } else if (isReplayed) {
      this.#replayed += 1;
      this.#announce('change');
    }
    this.#announce('event', { name, payload });
  }

  // A replay follows `connected` in one go, and only `presence` may come before it; what is
  // older than this connection was missed. (Some events tell a time of their own, so the time
  // alone would not do.)
  #isOfReplay(name, payload, offset) {
    if (offset === undefined && name !== 'presence') this.#isReplaying = false;
    return this.#isReplaying && name !== 'connected' && offset !== undefined
      && payload?.timestamp < this.#connectedAt;
  }

  #enter(state) {
    this.state = state;
    const isKept = this.#socket?.recovered || state === 'connecting' || state === 'reconnecting';
    if (!isKept) this.#announce('sessionlost');
    this.#announce('change');
  }

  #announce(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
