// Sessions with Redis, of a process that does as it is told: as a puppet (`puppet.js`), it evaluates a line at a
// time and answers with a line of JSON. What it can be told is what `redis_client.py` can.
'use strict';

const { createClient } = require('redis');
const serve = require('./puppet.js');

const sessions = [];
const held = [];
let target;

// What the lines use.
const words = { use, encrypt, login, logout, work, run, hold, release };

function use(protocol, host, port, path) {
  target = { RESP: protocol, socket: path ? { path } : { host, port } };
}

// Over TLS, whoever the server is.
function encrypt() {
  Object.assign(target.socket, { tls: true, rejectUnauthorized: false });
}

async function login(count) {
  for (let number = 0; number < count; number++) {
    const session = createClient(target);
    // A server that goes away is none of our business.
    session.on('error', () => {});
    await session.connect();
    sessions.push(session);
  }
}

function logout() {
  sessions.forEach((session) => session.destroy());
  sessions.length = 0;
}

// Numbers that look like noise, the same each time (mulberry32).
function randomness(seed) {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

// So many of GET, MGET and SET, so many at a time, which the library then sends in one call. Tells what came of them.
async function work(index, commands, depth, seed, spaces) {
  const below = randomness(seed);
  const pick = (list) => list[below(list.length)];
  const keys = spaces.map(([prefix, text]) => Array.from({ length: 200 }, (_, number) => [prefix, text + number]));
  const tally = { prefixes: {}, commands: {} };
  const count = (command, asked, replies) => {
    tally.commands[command] = (tally.commands[command] ?? 0) + 1;
    asked.forEach(([prefix], at) => {
      (tally.prefixes[prefix] ??= [0, 0])[replies[at] === null ? 1 : 0] += 1;
    });
  };
  const client = sessions[index];
  const one = async () => {
    const kind = below(100);
    const space = pick(keys);
    if (kind < 65) {
      const key = pick(space);
      count('get', [key], [await client.get(key[1])]);
    } else if (kind < 85) {
      const asked = Array.from({ length: 1 + below(8) }, () => pick(depth > 1 ? space : pick(keys)));
      count('mget', asked, await client.mGet(asked.map(([, key]) => key)));
    } else {
      // Half of the keys are never written.
      await client.set(space[below(100)][1], 'v'.repeat(pick([1, 20, 300, 3000])));
      count('set', [], []);
    }
  };
  while (commands > 0) {
    const batch = Math.min(depth, commands);
    await Promise.all(Array.from({ length: batch }, one));
    commands -= batch;
  }
  return tally;
}

// Commands one after the other. Tells the errors.
async function run(index, commands) {
  const errors = [];
  for (const command of commands) {
    try {
      await sessions[index].sendCommand(command);
    } catch (error) {
      errors.push(error.message);
    }
  }
  return errors;
}

// Has idle sessions wait for an element of a list, which is theirs alone.
function hold(first, last) {
  for (let index = first; index < last; index++) {
    held.push(sessions[index].blPop(`waiting:${index}`, 0));
  }
}

// Once each has its element.
async function release() {
  await Promise.all(held);
  held.length = 0;
}

serve(words);
