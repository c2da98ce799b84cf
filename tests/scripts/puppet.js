// A process of Node that does as it is told, as one of `puppet.py` does: called with the name it is to have, it evaluates a
// line at a time, and answers with a line of JSON.
'use strict';

const fs = require('fs');
const readline = require('readline');

fs.writeFileSync('/proc/self/comm', process.argv[2]);

// Does what the lines say, in which these functions may be called.
module.exports = async function serve(words) {
  const evaluate = new Function(...Object.keys(words), 'line', 'return eval(line)');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { ok: (await evaluate(...Object.values(words), line === 'None' ? 'null' : line)) ?? null };
    } catch (error) {
      answer = { error: String(error) };
    }
    console.log(JSON.stringify(answer));
  }
  process.exit(0);
};
