// The vendor's own client, balena-sdk, asks a service: prints what it finds, a line of JSON for each question.
//
//     node balena.js MODULES PACKAGE URL TOKEN STRANGERS_TOKEN
//
// MODULES: the directory that has the packages; PACKAGE: balena-sdk (v7) or balena-sdk-v6.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { createRequire } = require('node:module');

const [modules, name, url, token, strangersToken] = process.argv.slice(2);
const { getSdk } = createRequire(path.join(modules, 'package.json'))(name);
const isV6 = name.endsWith('v6');
const KITCHEN = '0123456789abcdef0123456789abcdef';

const directories = [];
async function clientOf(secret) {
  const dataDirectory = fs.mkdtempSync(path.join(os.tmpdir(), 'balena-'));
  directories.push(dataDirectory);
  const client = getSdk({ apiUrl: `${url}/`, dataDirectory });
  await client.auth.loginWithToken(secret);
  return client;
}

async function told(question, ask) {
  let answer;
  try {
    answer = await ask();
  } catch (error) {
    answer = { [error.name]: error.message, code: error.code };
  }
  console.log(JSON.stringify({ question, answer: answer === undefined ? null : answer }));
}

const names = (devices) => devices.map((device) => device.uuid);

async function main() {
  const balena = await clientOf(token);
  const { device, application, organization } = balena.models;
  const get = (resource, options) => balena.pine.get({ resource, options });
  const count = ($filter) => get('device', { $count: { $filter } });

  await told('whoami', () => balena.auth.whoami());
  await told('logged in', () => balena.auth.isLoggedIn());
  await told('one', () => device.get(KITCHEN));
  await told('by id', async () => (await device.get((await device.get(KITCHEN)).id)).uuid);
  await told('by the beginning', async () => (await device.get('0123')).uuid);
  await told('nobody', () => device.get('ffffffffffffffffffffffffffffffff'));
  await told('nobody of this id', () => device.get(17));
  await told('is there', async () => [await device.has(KITCHEN), await device.has('nobody')]);
  await told('name', () => device.getName(KITCHEN));
  await told('by name', async () => names(await device.getByName('Kitchen')));
  await told('status', async () => {
    const all = await get('device', { $select: ['uuid'], $orderby: { uuid: 'asc' } });
    const statuses = {};
    for (const { uuid } of all) {
      const found = await get('device', { $select: ['overall_status'], $filter: { uuid } });
      statuses[uuid] = found[0].overall_status;
    }
    return statuses;
  });
  await told('status of one', () => device.getStatus(KITCHEN));
  await told('progress', async () => [await device.getProgress('loading'), await device.getProgress(KITCHEN)]);
  await told('online', async () => [await device.isOnline(KITCHEN), await device.isOnline('gone'), await device.isOnline('mqtt-1')]);
  await told('last online', async () => device.lastOnline(await device.get(KITCHEN)));
  await told('application of one', () => device.getApplicationName(KITCHEN));
  await told('all', async () => names(isV6 ? await device.getAll() : await get('device', { $orderby: { device_name: 'asc' } })));
  await told('of an application', async () => names(await device.getAllByApplication('acme/pump')));
  await told('of an application by id', async () => {
    const { id } = await application.get('acme/gate');
    return names(await device.getAllByApplication(id, { $select: ['uuid'] }));
  });
  await told('of no application', () => device.getAllByApplication('acme/nothing'));
  await told('of the organization', async () => (await device.getAllByOrganization('acme')).length);
  await told('applications', async () => (await application.getAll()).map((one) => [one.app_name, one.slug]));
  await told('accessible', async () => (await application.getAllDirectlyAccessible()).length);
  await told('an application', () => application.get('acme/pump', { $expand: { organization: { $select: ['handle', 'name'] } } }));
  await told('application by name', async () => (await application.getAppByName('Pump')).slug);
  await told('an application is there', async () => [await application.has('acme/pump'), await application.has('acme/nothing')]);
  await told('organizations', async () => (await organization.getAll()).map((one) => one.handle));
  await told('organization', async () => (await organization.get('acme')).name);
  await told('organization by id', async () => (await organization.get((await organization.get('acme')).id)).handle);
  await told('counted', async () => [await count({ is_online: true }), await count({ 1: 1 })]);
  await told('overview', async () => {
    const counts = {};
    for (const one of ['inactive', 'post-provisioning', 'configuring', 'disconnected', 'offline', 'updating', 'reduced-functionality', 'operational', 'idle', 'unknown']) {
      counts[one] = await count({ overall_status: one });
    }
    return counts;
  });
  await told('overview of applications', () =>
    get('application', {
      $select: ['app_name'],
      $orderby: { app_name: 'asc' },
      $expand: { owns__device: { $count: { $filter: { is_online: true } } } },
    }));
  await told('a dashboard', () =>
    get('device', {
      $select: ['uuid', 'last_connectivity_event'],
      $filter: {
        api_heartbeat_state: { $in: ['offline', 'unknown'] },
        $not: { device_name: { $startswith: 'b' } },
        last_connectivity_event: { $lt: new Date('2026-01-01T00:00:00Z') },
        is_of__device_type: { $any: { $alias: 't', $expr: { t: { slug: 'pump' } } } },
      },
      $orderby: [{ last_connectivity_event: 'desc' }, { uuid: 'asc' }],
      $top: 2,
      $skip: 1,
      $expand: { belongs_to__application: { $select: ['app_name', 'slug'] } },
    }));
  await told('what is not served', () => device.getWithServiceDetails(KITCHEN));
  await told('a property that is not served', () => get('device', { $filter: { os_version: 'x' } }));
  await told('renamed', () => device.rename(KITCHEN, 'Cellar'));
  await told('tags', () => device.tags.getAllByDevice(KITCHEN));
  const stranger = await clientOf(strangersToken);
  await told('a stranger', async () => [
    await stranger.pine.get({ resource: 'device', options: { $select: ['uuid'] } }),
    await stranger.models.device.has(KITCHEN),
    await stranger.models.application.has('acme/pump'),
  ]);
  const nobody = await clientOf('guessed');
  await told('somebody unknown', () => nobody.models.device.get(KITCHEN));
  await told('somebody unknown is logged in', () => nobody.auth.isLoggedIn());
}

main()
  .finally(() => directories.forEach((directory) => fs.rmSync(directory, { recursive: true })))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
