'use strict';

// The conversations on screen: one button each, and the messages of the chosen one as bubbles.
// Drawn once per frame however many events come in.

const TICKS = new Map([
  ['sent', '✓'],
  ['delivered', '✓✓'],
  ['read', '✓✓'],
  ['played', '✓✓'],
  ['failed', '✗'],
]);

class ConversationView {
  #conversations;
  #buttons = new Map(); // of each conversation on screen
  #unread = new Map();
  #chosen = null;
  #onScreen = null;
  #frame = null;

  constructor(connection, conversations) {
    this.#conversations = conversations;
    connection.addEventListener('event', ({ detail }) => {
      const conversation = conversations.take(detail);
      if (conversation) this.#show(conversation, detail.name === 'whatsappMessage');
    });
  }

  #show(conversation, isMessage) {
    this.#chosen ??= conversation;
    if (isMessage && conversation !== this.#chosen) {
      this.#unread.set(conversation, (this.#unread.get(conversation) ?? 0) + 1);
    }
    this.#scheduleDraw();
  }

  #choose(conversation) {
    this.#chosen = conversation;
    this.#unread.delete(conversation);
    this.#scheduleDraw();
  }

  #scheduleDraw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    const { all, messageIds } = this.#conversations;
    if (!all.includes(this.#chosen)) this.#choose(all[0]);
    this.#dropButtons(all);
    all.forEach((conversation) => this.#drawButton(conversation));
    this.#drawMessages();
    byId('no-conversation').hidden = true;
    byId('known-messages').replaceChildren(...messageIds.map((value) =>
      element('option', { value })));
  }

  #dropButtons(all) {
    for (const [conversation, button] of this.#buttons) {
      if (all.includes(conversation)) continue;
      button.parentNode.remove();
      this.#buttons.delete(conversation);
      this.#unread.delete(conversation);
    }
  }

  // Kept from draw to draw, so that the one with the focus keeps it.
  #drawButton(conversation) {
    let button = this.#buttons.get(conversation);
    if (!button) {
      button = element('button', { type: 'button' });
      button.addEventListener('click', () => this.#choose(conversation));
      this.#buttons.set(conversation, button);
      byId('conversations').append(element('li', {}, button));
    }
    const { title, customerId } = conversation;
    const unread = this.#unread.get(conversation);
    button.setAttribute('aria-current', conversation === this.#chosen);
    button.replaceChildren(
      element('strong', { textContent: title }),
      element('code', { textContent: title === customerId ? '' : asText(customerId) }),
      element('span', { className: 'tag', textContent: `${unread} new`, hidden: !unread }),
    );
  }

  #drawMessages() {
    const list = byId('conversation');
    const isAtEnd = this.#onScreen !== this.#chosen
      || list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    this.#onScreen = this.#chosen;
    list.replaceChildren(...this.#chosen.messages.map(bubble));
    list.setAttribute('aria-label', `Conversation with ${this.#chosen.title}`);
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }
}

function bubble(message) {
  const { id, isSeen, fromCustomer, sender, type, content, at, errors } = message;
  const node = element(
    'li',
    { className: fromCustomer ? 'bubble' : 'bubble ours', title: id },
    element('strong', { textContent: isSeen ? sender : 'Sent elsewhere' }),
    element('time', { dateTime: new Date(at).toISOString(), textContent: dayAndTime(at) }),
    isSeen ? element('p', { textContent: content }) : element('code', { textContent: id }),
    element('small', {}, type && type !== 'text' ? `${type} · ` : '', ...statusMark(message)),
  );
  errors.forEach((error) =>
    node.append(element('p', { className: 'problem', textContent: errorText(error) })));
  return node;
}

function statusMark({ status }) {
  if (!status) return [];
  const ticks = element('span', { className: `ticks ${status}`, textContent: TICKS.get(status) ?? '' });
  ticks.setAttribute('aria-hidden', true);
  return [ticks, ` ${status}`];
}

// An error of the Cloud API: {code, title, error_data: {details}}.
function errorText(error) {
  const { code, title, error_data: more } = Object(error);
  const words = [code, title, more?.details].filter((part) => part !== undefined).map(asText);
  return words.length > 0 ? words.join(' · ') : asText(error);
}

function dayAndTime(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString() : date.toLocaleString();
}
