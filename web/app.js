// The try-it page: a chat over the public JavaScript SDK, to see what the server does.
//
// Everything that came from a person or from the network reaches the page as text, never as markup.
'use strict';

const element = (id) => document.getElementById(id);

const MESSAGES_MAX = 500;
const HISTORY_LIMIT = 50;
const PING_INTERVAL_MS = 3000;
const TOAST_MS = 7000;
const HUES = 6;

/** All that the page knows: the connection, and one room per joined channel. */
const page = {
  client: null, clientId: '', rooms: new Map(), current: null, offline: false, pingTimer: 0,
};

/** Ids of all connections that this page had: after a reconnect it has another one. */
const ownClients = new Set();

/** What codes mean to a person; other codes show the text that came with them. */
const WORDS = new Map([
  [1, 'The request took too long'],
  [100, 'The server failed; try again'],
  [101, 'This needs a token'],
  [102, 'There is no such channel: its namespace is not configured'],
  [103, 'You are not allowed to do that'],
  [104, 'There is no such method'],
  [105, 'Already joined'],
  [106, 'The limit is reached'],
  [107, 'The server did not understand the request'],
  [108, 'Not available in this channel'],
  [109, 'The token has expired'],
  [111, 'Too many requests; slow down'],
  [112, 'The missed messages are no longer kept'],
  [3500, 'The server does not accept this token'],
  [3501, 'The server did not understand the connection'],
  [3502, 'The connection was idle for too long'],
  [3503, 'The server asked this client to stay away'],
  [3504, 'This user has too many connections'],
  [3505, 'This connection has too many channels'],
  [3507, 'This connection is not allowed'],
]);

function words(problem) {
  const text = WORDS.get(problem.code) ?? problem.message ?? problem.reason ?? String(problem);
  return problem.code ? `${text} (${problem.code}).` : `${text}.`;
}

function toast(text) {
  const shown = make('p', 'toast', text);
  const close = make('button', 'quiet', '×');
  close.type = 'button';
  close.setAttribute('aria-label', 'Close this notice');
  close.addEventListener('click', () => shown.remove());
  shown.append(close);
  element('toasts').append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---------------------------------------------------------------------------------- connection

function connect(token) {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const options = { minReconnectDelay: 200, maxReconnectDelay: 5000 };
  if (token) options.token = token;
  const client = new Centrifuge(`${scheme}//${location.host}/connection/websocket`, options);
  page.client = client;
  client.on('connecting', (context) => showState('connecting', context));
  client.on('connected', onConnected);
  client.on('disconnected', onDisconnected);
  client.on('error', (context) => {
    // While the SDK retries, the state says so already.
    if (context.type !== 'transport') toast(words(context.error));
  });
  client.on('publication', (context) => serverRoom(context.channel, context));
  client.connect();
}

function onConnected(context) {
  ownClients.add(context.client);
  page.clientId = context.client;
  showState('connected');
  element('client').textContent = context.client.slice(0, 8);
  element('client').title = context.client;
  element('transport').textContent = context.transport;
  clearInterval(page.pingTimer);
  page.pingTimer = setInterval(measureRoundTrip, PING_INTERVAL_MS);
  measureRoundTrip();
}

function onDisconnected(context) {
  showState(page.offline ? 'offline' : 'disconnected');
  if (page.offline || context.code === 0) return;
  toast(`Disconnected: ${words(context)}`);
}

function showState(state, context) {
  const isConnected = state === 'connected';
  if (!isConnected) {
    clearInterval(page.pingTimer);
    element('round-trip').textContent = '–';
  }
  const shown = element('state');
  shown.dataset.state = state;
  shown.textContent = state;
  shown.title = context?.reason ?? '';
  const isEnded = state === 'disconnected';
  document.body.dataset.ended = isEnded;
  element('connect').textContent = isEnded ? 'Connect' : 'Disconnect';
  element('connect').classList.toggle('quiet', !isEnded);
  element('token').disabled = !isEnded;
  element('offline').disabled = isEnded;
  element('rpc').disabled = !isConnected;
  showRoomControls();
}

async function measureRoundTrip() {
  const client = page.client;
  const started = performance.now();
  try {
    await client.rpc('ping', {});
  } catch {
    return;
  }
  if (client.state !== 'connected') return;
  element('round-trip').textContent = `${(performance.now() - started).toFixed(1)} ms`;
}

function onConnectForm(event) {
  event.preventDefault();
  if (page.client && element('state').dataset.state !== 'disconnected') {
    setOffline(false);
    page.client.disconnect();
    showState('disconnected');
    return;
  }
  const names = [...page.rooms.keys()].filter((name) => page.rooms.get(name).subscription);
  page.client?.disconnect();
  connect(element('token').value.trim());
  // A new connection may be of another user: its subscriptions begin anew.
  for (const name of names) subscribe(page.rooms.get(name));
}

/** A person can see recovery: the connection goes away until the button is pressed again. */
function onOffline() {
  setOffline(!page.offline);
  if (page.offline) page.client.disconnect();
  else page.client.connect();
}

function setOffline(offline) {
  page.offline = offline;
  element('offline').setAttribute('aria-pressed', String(offline));
  element('offline').textContent = offline ? 'Go online again' : 'Simulate offline';
}

// ------------------------------------------------------------------------------------ channels

function onJoinForm(event) {
  event.preventDefault();
  const name = element('join-name').value.trim();
  if (!name) return;
  if (!page.client) {
    toast('Connect first.');
    return;
  }
  if (!page.rooms.has(name)) {
    const room = newRoom(name);
    subscribe(room);
  }
  element('join-name').value = '';
  openRoom(name);
}

function newRoom(name) {
  const room = {
    name, subscription: null, state: '', messages: [], members: new Map(), membersHint: '',
    unread: 0, notice: '', key: 0,
  };
  page.rooms.set(name, room);
  return room;
}

/** A channel that the server subscribed us to appears with its first message. */
function serverRoom(name, publication) {
  const room = page.rooms.get(name) ?? newRoom(name);
  room.state = 'by the server';
  room.membersHint = 'The server joined this channel for you.';
  receive(room, publication);
  if (!page.current) openRoom(name);
}

function subscribe(room) {
  const options = { joinLeave: true, recoverable: true, positioned: true };
  const subscription = page.client.newSubscription(room.name, options);
  room.subscription = subscription;
  subscription.on('subscribing', () => setRoomState(room, 'joining'));
  subscription.on('subscribed', (context) => onSubscribed(room, context));
  subscription.on('unsubscribed', (context) => onUnsubscribed(room, context));
  subscription.on('publication', (context) => receive(room, context));
  subscription.on('join', (context) => setMember(room, context.info, true));
  subscription.on('leave', (context) => setMember(room, context.info, false));
  subscription.on('error', (context) => toast(`${room.name}: ${words(context.error)}`));
  subscription.subscribe();
}

function onSubscribed(room, context) {
  setRoomState(room, 'joined');
  const before = room.key;
  if (context.wasRecovering) {
    // The SDK hands over what was missed right after this event, within the same turn.
    setTimeout(() => {
      const count = room.key - before;
      const counted = count === 1 ? '1 message' : `${count} messages`;
      room.notice = context.recovered
        ? `Recovered ${counted} after the reconnect.`
        : 'Not recovered: the server no longer keeps all that was missed. History shows the rest.';
      if (page.current !== room) return;
      showNotice(room);
      scrollDown();
    }, 0);
  }
  loadMembers(room);
}

function onUnsubscribed(room, context) {
  setRoomState(room, 'left');
  room.members.clear();
  room.membersHint = 'Not in this channel.';
  if (page.current === room) showMembers(room);
  if (context.code !== 0) toast(`${room.name}: left. ${words(context)}`);
}

function leave(room) {
  if (room.subscription) {
    room.subscription.unsubscribe();
    room.subscription.removeAllListeners();
    page.client.removeSubscription(room.subscription);
  }
  page.rooms.delete(room.name);
  if (page.current === room) {
    page.current = null;
    const [first] = page.rooms.keys();
    openRoom(first);
  } else {
    showChannels();
  }
}

function setRoomState(room, state) {
  room.state = state;
  showChannels();
  if (page.current === room) showRoomControls();
}

function openRoom(name) {
  const room = page.rooms.get(name) ?? null;
  page.current = room;
  if (room) room.unread = 0;
  element('room-title').textContent = room ? room.name : 'No channel';
  element('messages').replaceChildren(...(room ? room.messages.map(messageItem) : []));
  scrollDown();
  showChannels();
  showNotice(room);
  showMembers(room);
  showRoomControls();
  if (room && room.state === 'joined') element('publish-text').focus({ preventScroll: true });
}

function showChannels() {
  const items = [...page.rooms.values()].map((room) => {
    const item = make('li', room === page.current ? 'current' : '');
    const open = make('button', 'open quiet');
    open.type = 'button';
    open.append(make('span', 'name', room.name));
    if (room.unread) {
      const unread = make('span', 'count', String(room.unread));
      unread.setAttribute('aria-label', `${room.unread} unread`);
      open.append(unread);
    } else if (room.state !== 'joined') {
      open.append(make('span', 'hint', room.state));
    }
    if (room === page.current) open.setAttribute('aria-current', 'true');
    open.addEventListener('click', () => openRoom(room.name));
    const close = make('button', 'close quiet', '×');
    close.type = 'button';
    close.setAttribute('aria-label', `Leave ${room.name}`);
    close.addEventListener('click', () => leave(room));
    item.append(open, close);
    return item;
  });
  element('channels').replaceChildren(...items);
  element('channels-empty').hidden = items.length > 0;
}

function showRoomControls() {
  const room = page.current;
  const isJoined = room?.subscription?.state === 'subscribed';
  element('room-state').textContent = room && room.state !== 'joined' ? room.state : '';
  element('publish-text').disabled = !isJoined;
  element('publish').disabled = !isJoined;
  element('history').disabled = !isJoined;
}

function showNotice(room) {
  element('recovery').hidden = !room?.notice;
  element('recovery').textContent = room?.notice ?? '';
}

// ------------------------------------------------------------------------------------ messages

function receive(room, publication) {
  const message = readMessage(publication);
  message.key = room.key;
  room.key += 1;
  room.messages.push(message);
  if (room.messages.length > MESSAGES_MAX) room.messages.shift();
  if (page.current !== room) {
    room.unread += 1;
    showChannels();
    return;
  }
  const list = element('messages');
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  list.append(messageItem(message));
  if (list.childElementCount > MESSAGES_MAX) list.firstElementChild.remove();
  if (isAtEnd) scrollDown();
}

function readMessage(publication) {
  const data = publication.data;
  const isChat = data !== null && typeof data === 'object' && typeof data.text === 'string';
  const sent = isChat && Number.isFinite(data.sent_ms) ? data.sent_ms : Date.now();
  return {
    text: isChat ? data.text : JSON.stringify(data),
    author: authorOf(publication.info),
    isOwn: ownClients.has(publication.info?.client),
    at: new Date(sent),
    offset: publication.offset ?? 0,
  };
}

function authorOf(info) {
  if (!info) return 'server';
  return info.user || `guest ${info.client.slice(0, 4)}`;
}

function hueOf(author) {
  let hash = 0;
  for (const character of author) hash = (hash * 31 + character.codePointAt(0)) % 65521;
  return `hue-${hash % HUES}`;
}

function messageItem(message) {
  const item = make('li', message.isOwn ? 'message own' : 'message');
  item.dataset.offset = message.offset;
  const head = make('p', 'message-head');
  head.append(make('b', hueOf(message.author), message.isOwn ? 'You' : message.author));
  const time = make('time', '', message.at.toLocaleTimeString());
  const isValid = !Number.isNaN(message.at.valueOf());
  if (isValid) time.dateTime = message.at.toISOString();
  head.append(time);
  if (message.offset) head.append(make('span', 'offset', `#${message.offset}`));
  item.append(head, make('p', 'text', message.text));
  return item;
}

function scrollDown() {
  const list = element('messages');
  list.scrollTop = list.scrollHeight;
}

async function onPublishForm(event) {
  event.preventDefault();
  const field = element('publish-text');
  const text = field.value;
  if (!page.current?.subscription || !text.trim()) return;
  try {
    await page.current.subscription.publish({ text, sent_ms: Date.now() });
    if (field.value === text) field.value = '';
  } catch (error) {
    toast(`Not published: ${words(error)}`);
  }
}

/** Puts what the server keeps before what the page has seen, each offset once. */
async function onHistory() {
  const room = page.current;
  try {
    const answer = await room.subscription.history({ limit: HISTORY_LIMIT, reverse: true });
    const seen = new Set(room.messages.map((message) => message.offset));
    const missing = answer.publications.filter((one) => !seen.has(one.offset));
    room.messages.push(...missing.map(readMessage));
    room.messages.sort((one, other) => one.offset - other.offset);
    room.messages.splice(0, room.messages.length - MESSAGES_MAX);
    const count = missing.length;
    room.notice = count === 0
      ? 'Everything in the history is shown already.'
      : `${count} ${count === 1 ? 'message' : 'messages'} added from the history.`;
    if (page.current === room) openRoom(room.name);
  } catch (error) {
    toast(`No history: ${words(error)}`);
  }
}

// ------------------------------------------------------------------------------------- members

async function loadMembers(room) {
  try {
    const answer = await room.subscription.presence();
    room.members.clear();
    for (const info of Object.values(answer.clients)) room.members.set(info.client, info);
    room.membersHint = '';
  } catch (error) {
    room.membersHint = error.code === 108 || error.code === 103
      ? 'This channel does not tell who is there.'
      : words(error);
  }
  if (page.current === room) showMembers(room);
}

function setMember(room, info, isPresent) {
  if (isPresent) room.members.set(info.client, info);
  else room.members.delete(info.client);
  if (page.current === room) showMembers(room);
}

function showMembers(room) {
  const members = room ? [...room.members.values()] : [];
  members.sort((one, other) => authorOf(one).localeCompare(authorOf(other)));
  const items = members.map((info) => {
    const name = authorOf(info);
    const item = make('li', hueOf(name));
    item.append(make('span', 'name', name));
    const isOwn = info.client === page.clientId;
    item.append(make('span', 'hint', isOwn ? 'this page' : info.client.slice(0, 8)));
    item.dataset.client = info.client;
    return item;
  });
  element('members').replaceChildren(...items);
  element('members-count').textContent = String(items.length);
  const hint = room ? room.membersHint : 'Join a channel to see who is there.';
  element('members-hint').textContent = hint;
  element('members-hint').hidden = !hint;
}

// ---------------------------------------------------------------------------------------- calls

async function onRpcForm(event) {
  event.preventDefault();
  const answer = element('rpc-answer');
  let argument;
  try {
    argument = JSON.parse(element('rpc-argument').value || 'null');
  } catch {
    toast('The argument is not JSON.');
    element('rpc-argument').focus();
    return;
  }
  try {
    const result = await page.client.rpc(element('rpc-method').value.trim(), argument);
    answer.textContent = JSON.stringify(result.data, null, 2);
    answer.classList.remove('bad');
  } catch (error) {
    answer.textContent = words(error);
    answer.classList.add('bad');
  }
}

// ---------------------------------------------------------------------------------------- start

function start() {
  element('connect-form').addEventListener('submit', onConnectForm);
  element('offline').addEventListener('click', onOffline);
  element('join-form').addEventListener('submit', onJoinForm);
  element('publish-form').addEventListener('submit', onPublishForm);
  element('history').addEventListener('click', onHistory);
  element('rpc-form').addEventListener('submit', onRpcForm);
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  // Out of the address bar, so that it is neither copied with the address nor kept in the history.
  history.replaceState(null, '', location.pathname + location.search);
  element('token').value = given;
  connect(given);
}

start();
