// Sessions with PostgreSQL, of a process that does as it is told: as a puppet (`puppet.js`), it evaluates a line
// at a time and answers with a line of JSON. What it can be told is what `postgres_client.py` can.
'use strict';

const { Client } = require('pg');
const serve = require('./puppet.js');

const SLEEP = 'SELECT pg_sleep(3600)';
const STATEMENTS = {
  idle: ['SELECT 1'],
  'in transaction': ['BEGIN', 'SELECT 1'],
  failed: ['BEGIN', 'SELECT 1/0'],
};
const sessions = [];
const running = new Map();
let target;

// What the lines use.
const words = { use, login, put, again, run, logout };

function use(library, host, port, user = 'postgres', password = '', encryption = 'disable') {
  const ssl = encryption === 'disable' ? false : { rejectUnauthorized: false };
  target = { host, port, user, password, database: 'postgres', ssl };
}

async function login(count) {
  const refused = [];
  for (let number = 0; number < count; number++) {
    const session = new Client(target);
    // A server that goes away is none of our business.
    session.on('error', () => {});
    try {
      await session.connect();
      sessions.push(session);
    } catch (error) {
      refused.push(error.code);
    }
  }
  return refused;
}

// Statements that are called by a name are prepared, and go in the extended protocol.
async function execute(session, text) {
  try {
    await session.query(text.startsWith('SELECT') ? { text, name: `told ${text}` } : text);
    return '';
  } catch (error) {
    return error.code;
  }
}

async function put(first, last, state) {
  const told = [];
  for (let index = first; index < last; index++) {
    if (state === 'active') {
      running.set(index, execute(sessions[index], SLEEP));
    } else {
      for (const statement of STATEMENTS[state]) {
        told.push(await execute(sessions[index], statement));
      }
    }
  }
  return told.filter((one) => one !== '');
}

async function again(first, last, state) {
  const told = [];
  for (let index = first; index < last; index++) {
    if (state === 'active') {
      told.push(await running.get(index));
      running.set(index, execute(sessions[index], SLEEP));
    } else {
      told.push(await execute(sessions[index], 'SELECT 1'));
    }
  }
  return told.filter((one) => one !== '');
}

async function run(index, statement, times = 1) {
  const told = [];
  for (let number = 0; number < times; number++) {
    told.push(await execute(sessions[index], statement));
  }
  return told.filter((one) => one !== '');
}

async function logout() {
  for (const [index, session] of sessions.entries()) {
    if (!running.has(index)) {
      await session.end();
    }
  }
  sessions.length = 0;
}

serve(words);
