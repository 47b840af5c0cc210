// The vendor's own client in JavaScript lists a whole fleet: prints how many it found, and how many of those differ.
//
//     node listing.js MODULES PACKAGE URL TOKEN
//
// MODULES, PACKAGE: as balena.js has them.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { createRequire } = require('node:module');

const [modules, name, url, token] = process.argv.slice(2);
const { getSdk } = createRequire(path.join(modules, 'package.json'))(name);

async function main(dataDirectory) {
  const balena = getSdk({ apiUrl: `${url}/`, dataDirectory });
  await balena.auth.loginWithToken(token);
  // The client takes the whole answer as one text, which Node.js bounds at half a gigabyte: not all properties of a million.
  const options = { $select: ['uuid', 'overall_status'] };
  const found = name.endsWith('v6')
    ? await balena.models.device.getAll(options)
    : await balena.pine.get({ resource: 'device', options });
  console.log(found.length, new Set(found.map((device) => device.uuid)).size);
}

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'balena-'));
main(directory)
  .finally(() => fs.rmSync(directory, { recursive: true }))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
