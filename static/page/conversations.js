'use strict';

// WhatsApp conversations as `whatsappMessage` and `whatsappMessageStatus` tell them, in whatever
// order and however often these come. Knows nothing of the page.

const KEPT_CONVERSATIONS = 100;
const KEPT_MESSAGES = 300; // of each conversation
const STATUSES = ['sent', 'delivered', 'read', 'played'];

// A message: {id, isSeen, fromCustomer, sender, type, content, at, status, errors}; `at` in
// milliseconds. One that is known by its statuses only is not `isSeen` and has no content.

class Conversations {
  #all = [];
  #places = new Map(); // of each message id: {conversation, message}
  #unnamed = 0;

  // Each {id, customerId, title, messages}, messages oldest first, in the order of appearance.
  get all() {
    return this.#all;
  }

  get messageIds() {
    return [...this.#places.keys()];
  }

  // Returns the conversation that the event belongs to; null for other events.
  take({ name, payload }) {
    if (name === 'whatsappMessage') return this.#takeMessage(payload);
    if (name === 'whatsappMessageStatus') return this.#takeStatus(payload);
    return null;
  }

  #takeMessage(payload) {
    const conversation = this.#conversationOf(payload);
    const message = this.#messageIn(conversation, payload.whatsappMessageId);
    const fromCustomer = payload.senderType === 'customer';
    if (fromCustomer) conversation.title = customerName(payload) ?? conversation.title;
    message.fromCustomer = fromCustomer;
    message.sender = fromCustomer ? conversation.title : asText(payload.senderType);
    message.isSeen = true;
    message.type = asText(payload.messageType);
    message.content = asText(payload.content);
    message.at = momentOf(payload);
    moveOn(message, payload);
    this.#settle(conversation);
    return conversation;
  }

  #takeStatus(payload) {
    const conversation = this.#places.get(payload.messageId)?.conversation
      ?? this.#conversationOf(payload);
    const message = this.#messageIn(conversation, payload.messageId);
    message.at ??= momentOf(payload);
    moveOn(message, payload);
    this.#settle(conversation);
    return conversation;
  }

  // A customer known by statuses only has no conversation id yet; the first that comes is its own.
  #conversationOf({ conversationId, customerId }) {
    const ofCustomer = this.#all.filter((one) => one.customerId === customerId);
    const found = conversationId === undefined
      ? ofCustomer.at(-1)
      : this.#all.find((one) => one.id === conversationId)
        ?? ofCustomer.find((one) => one.id === undefined);
    const conversation = found ?? { title: '', messages: [] };
    if (!found) this.#add(conversation);
    conversation.id ??= conversationId;
    conversation.customerId = customerId ?? conversation.customerId;
    conversation.title ||= asText(customerId ?? conversationId) || 'unknown customer';
    return conversation;
  }

  #add(conversation) {
    this.#all.push(conversation);
    if (this.#all.length > KEPT_CONVERSATIONS) this.#forget(this.#all.shift().messages);
  }

  #messageIn(conversation, id) {
    const key = id === undefined ? `unnamed ${this.#unnamed += 1}` : asText(id);
    const place = this.#places.get(key);
    if (place?.conversation === conversation) return place.message;
    // Its statuses came first, under another customer id.
    if (place) place.conversation.messages = place.conversation.messages
      .filter((one) => one !== place.message);
    const message = place?.message ?? { id: key, isSeen: false, fromCustomer: false, errors: [] };
    conversation.messages.push(message);
    this.#places.set(key, { conversation, message });
    return message;
  }

  // By time, so that what comes late, in a replay for example, stands where it belongs.
  #settle(conversation) {
    conversation.messages.sort((one, other) => one.at - other.at);
    this.#forget(conversation.messages.splice(0, conversation.messages.length - KEPT_MESSAGES));
  }

  #forget(messages) {
    messages.forEach(({ id }) => this.#places.delete(id));
  }
}

// Statuses go forward only: events may come out of order. `failed` ends, and not after `read`.
function moveOn(message, { status, errors }) {
  if (!isFurther(message.status, status)) return;
  message.status = asText(status);
  message.errors = Array.isArray(errors) ? errors : [];
}

function isFurther(from, to) {
  if (to === undefined || from === 'failed') return false;
  if (to === 'failed') return STATUSES.indexOf(from) < STATUSES.indexOf('read');
  return from === undefined || STATUSES.indexOf(to) > STATUSES.indexOf(from);
}

function customerName({ metadata, whatsappNumber }) {
  const { profile, name } = metadata?.customerData ?? {};
  const known = profile?.name ?? name ?? whatsappNumber;
  return known === undefined ? undefined : asText(known);
}

function momentOf({ timestamp }) {
  const moment = Date.parse(timestamp);
  return Number.isNaN(moment) ? Date.now() : moment;
}

// Back-ends may publish these events with anything in them.
function asText(value) {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
