// Emmett's CommandHandler on its Postgres event store: it reads the stream, evolves the state, decides, and appends
// expecting the version that it read; a conflict is not retried unless asked. Two processes with half of the clients
// each, as one process of Node runs one thread of JavaScript.

import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { CommandHandler, STREAM_DOES_NOT_EXIST } from '@event-driven-io/emmett';
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import pg from 'pg';

const VERSION = '0.42.0';
const PROCESSES = 2;
const CONNECTIONS = 8; // of each process
const WARM_UP = 200;
const EVENTS_BEFORE = 5;
const LINES_AT_MOST = 100;
const USAGE = 'use --workload new|existing --commands N --clients N --url URL';

const initialState = () => ({ placed: false, lines: 0 });

const evolve = (state, { type, data }) => {
  switch (type) {
    case 'OrderPlaced':
      return { placed: true, lines: data.lines.length };
    case 'LineAdded':
      return { ...state, lines: state.lines + 1 };
    default:
      return state;
  }
};

const handle = CommandHandler({ evolve, initialState });

const placeOrder = (order) => (state) => {
  if (state.placed) throw new Error('the order is placed already');
  return orderPlaced(order);
};

const addLine = (order) => (state) => {
  if (!state.placed) throw new Error('the order is not placed');
  if (state.lines >= LINES_AT_MOST) throw new Error('the order has too many lines');
  return lineAdded(order);
};

const line = () => ({ sku: '85123A-hanging-heart', quantity: 6, unit_price_minor: 255 });

const orderPlaced = (order_id) => ({
  type: 'OrderPlaced',
  data: { order_id, customer_id: randomUUID(), currency: 'GBP', lines: [line()], placed_at: '2026-01-31T12:34:56.789Z' },
});

const lineAdded = (order_id) => ({ type: 'LineAdded', data: { order_id, line: line() } });

/** The schema is made once, by hand: else the first commands would, and wait for a connection that they hold. */
const open = (url) => {
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS });
  const schema = { autoMigration: 'None' };
  return { pool, store: getPostgreSQLEventStore(url, { connectionOptions: { pool }, schema }) };
};

const close = async ({ pool, store }) => {
  await store.close();
  if (!pool.ended) await pool.end();
};

/** Each client takes the next one as soon as its last one is done. */
const clients = async (count, todo, work) => {
  let next = 0;
  const client = async () => {
    while (next < todo.length) await work(todo[next++]);
  };
  await Promise.all(Array.from({ length: count }, client));
};

const commands = async (store, workload, count, orders) => {
  const took = [];
  const failures = [];
  await clients(count, orders, async (order) => {
    const start = performance.now();
    try {
      if (workload === 'new')
        await handle(store, order, placeOrder(order), { expectedStreamVersion: STREAM_DOES_NOT_EXIST });
      else await handle(store, order, addLine(order));
      took.push(performance.now() - start);
    } catch (error) {
      failures.push(String(error?.message ?? error));
    }
  });
  return { took, failures };
};

const fill = async (store, count, orders) => {
  const events = (order) => [orderPlaced(order), ...Array.from({ length: EVENTS_BEFORE - 1 }, () => lineAdded(order))];
  await clients(count, orders, (order) => store.appendToStream(order, events(order)));
};

/** One process with its share. It tells when it is ready, and goes on when all are. */
const worker = async ({ workload, url, warmUp, timed, count }) => {
  process.once('disconnect', () => process.exit());
  const connected = open(url);
  const orders = Array.from({ length: warmUp + timed }, () => randomUUID());
  const together = async () => {
    process.send({ ready: true });
    await once(process, 'message');
  };
  if (workload === 'existing') await fill(connected.store, count, orders);
  await together();
  const before = await commands(connected.store, workload, count, orders.slice(0, warmUp));
  await together();
  const start = Date.now();
  const after = await commands(connected.store, workload, count, orders.slice(warmUp));
  const end = Date.now();
  await close(connected);
  process.send({ ...after, start, end, warmedUp: before.took.length });
};

const share = (total, index) => Math.floor(total / PROCESSES) + (index < total % PROCESSES ? 1 : 0);

/** The next message of each, or the first failure. */
const all = (children) =>
  Promise.all(
    children.map(async (child) => {
      const [message] = await Promise.race([once(child, 'message'), once(child, 'exit')]);
      if (message?.error) throw new Error(message.error);
      if (typeof message !== 'object' || message === null) throw new Error('a process ended early');
      return message;
    }),
  );

const percentile = (sorted, percent) => {
  const index = Math.max(Math.ceil((sorted.length * percent) / 100) - 1, 0);
  return Number((sorted[index] ?? 0).toFixed(3));
};

const bench = async ({ workload, commands, clients, url }) => {
  const { store, pool } = open(url);
  await store.schema.migrate().catch((error) => {
    throw new Error(`cannot use ${url.split('@').at(-1)}; start Postgres there: ${oneLine(error)}`);
  });
  const count = async () => Number((await pool.query('SELECT count(*) FROM emt_messages')).rows[0].count);
  const before = await count();
  const children = Array.from({ length: PROCESSES }, () => fork(fileURLToPath(import.meta.url), ['worker']));
  let answers;
  try {
    children.forEach((child, index) =>
      child.send({
        workload,
        url,
        warmUp: share(WARM_UP, index),
        timed: share(commands, index),
        count: share(clients, index),
      }),
    );
    await all(children);
    if (workload === 'existing') await pool.query('ANALYZE');
    for (let round = 0; round < 2; round++) {
      const next = all(children);
      children.forEach((child) => child.send({ go: true }));
      answers = await next;
    }
  } finally {
    children.forEach((child) => child.kill());
  }
  const took = answers.flatMap((answer) => answer.took).sort((a, b) => a - b);
  const failures = answers.flatMap((answer) => answer.failures);
  if (failures.length > 0) console.error(`emmett: a command failed: ${failures[0]}`);
  let expected = before + took.length + answers.reduce((sum, answer) => sum + answer.warmedUp, 0);
  if (workload === 'existing') expected += EVENTS_BEFORE * (WARM_UP + commands);
  const found = await count();
  await close({ store, pool });
  if (found !== expected)
    throw new Error(`the store has ${found} events, not ${expected}; run it in a store of its own`);
  const seconds = (Math.max(...answers.map((a) => a.end)) - Math.min(...answers.map((a) => a.start))) / 1000;
  return {
    peer: 'emmett',
    version: VERSION,
    workload,
    clients,
    commands,
    failed: failures.length,
    seconds,
    p50_ms: percentile(took, 50),
    p99_ms: percentile(took, 99),
  };
};

const parse = () => {
  const text = { type: 'string' };
  const options = { workload: text, commands: text, clients: text, url: text };
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    throw new Error(`${error.message}; ${USAGE}`);
  }
  const positive = (name, least) => {
    if (!/^\d+$/.test(values[name] ?? '') || Number(values[name]) < least)
      throw new Error(`--${name} must be a number, at least ${least}; ${USAGE}`);
    return Number(values[name]);
  };
  if (!['new', 'existing'].includes(values.workload)) throw new Error(`--workload is new or existing; ${USAGE}`);
  if (!/^postgres(ql)?:\/\//.test(values.url ?? '')) throw new Error(`--url is postgres://…; ${USAGE}`);
  return {
    workload: values.workload,
    commands: positive('commands', 1),
    clients: positive('clients', PROCESSES),
    url: values.url,
  };
};

const oneLine = (error) => String(error?.message || error?.code || error).replace(/\s+/g, ' ');

if (process.argv[2] === 'worker') {
  const [work] = await once(process, 'message');
  await worker(work).catch((error) => process.send({ error: oneLine(error) }));
  process.disconnect();
} else {
  try {
    console.log(JSON.stringify(await bench(parse())));
  } catch (error) {
    console.error(`emmett: ${oneLine(error)}`);
    process.exit(1);
  }
}
