// Types what a page shows into Node.js, and prints what comes of it: the expressions behind `>` of the first block that begins
// with one, each with what it is. Of an exception that is its name and message, as pages show it.
//
//     node transcript.js MODULES PACKAGE URL TOKEN PAGE
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { createRequire } = require('node:module');
const { inspect } = require('node:util');

const [modules, name, url, token, page] = process.argv.slice(2);
const { getSdk } = createRequire(path.join(modules, 'package.json'))(name);
const AsyncFunction = async function () {}.constructor;

async function main(dataDirectory) {
  const balena = getSdk({ apiUrl: `${url}/`, dataDirectory });
  await balena.auth.loginWithToken(token);
  const [, block] = fs.readFileSync(page, 'utf8').match(/^```text\n(> [^]*?)^```$/m);
  for (const line of block.split('\n').filter((one) => one.startsWith('> '))) {
    console.log(line);
    try {
      const value = await new AsyncFunction('balena', `return (${line.slice(2)});`)(balena);
      console.log(inspect(value, { depth: 5, breakLength: 120 }));
    } catch (error) {
      console.log(`${error.name}: ${error.message}`);
    }
  }
}

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'balena-'));
main(directory)
  .finally(() => fs.rmSync(directory, { recursive: true }))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
