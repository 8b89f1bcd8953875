// Gateways that share one cache: who lives, how their bucket fares, and where bytes come from.

import { h, bar, badge, legend, card, table, empty, bytes, number, percent, plural, lasting, when, ago, now, ticks } from './dom.js';
import { loader } from './store.js';
import { traffic, rangeSwitch } from './history.js';
import { tile, total, problemList } from './overview.js';

const pins = loader('pins');

// of is what a gateway has to do with others; null = nothing.
export const of = state => state.storage.find(c => c.bucket || c.peers) || null;

export const problems = state => state.problems.filter(p => p.what === 'fleet');

export const aside = state => of(state) && rangeSwitch();

export function view(state) {
	const c = of(state);
	if (!c) {
		return card('No fleet', empty(state.hidden ? 'Other gateways and their bucket are shown only to users who may pull from every upstream.'
			: 'This gateway works alone. Several can share one cache, and stand in for each other: the chapter docs/fleet.md says when that pays, and how to move.'));
	}
	if (c.bucket) pins.load({}, Date.now() - pins.at > 60000);
	const wrong = problems(state);
	return [tiles(state, c), wrong.length ? card('Problems', { aside: badge('warn', number(wrong.length)) }, problemList(wrong)) : null,
		c.peers && members(state, c.peers), c.bucket && h('div', { class: 'halves' }, bucket(c.bucket), contents(c.bucket)),
		traffic('Where bytes came from', fields(c), 'stack', p => split(p.sent_bytes, p.received_bytes, p.bucket_bytes || 0, p.peer_bytes || 0)), c.bucket && pinned(c.bucket)];
}

// came is where bytes come from: from the costliest place to the cheapest.
const came = [['upstream', 'Registries'], ['bucket', 'Bucket'], ['peer', 'Other gateways'], ['disk', 'Own disk']];

// split says of what was sent to clients where it came from. What came without being sent,
// such as ahead of clients, stands there, too.
function split(sent, received, bucket, peer) {
	return { upstream_bytes: received, bucket_bytes: bucket, peer_bytes: peer, disk_bytes: Math.max(sent - received - bucket - peer, 0) };
}

function parts(state, c) {
	const t = total(state);
	return split(t.sent_bytes, t.received_bytes, c.bucket ? c.bucket.received_bytes : 0, c.peers ? c.peers.received_bytes : 0);
}

const fields = c => came.filter(([of]) => of !== 'bucket' && of !== 'peer' || (of === 'bucket' ? c.bucket : c.peers));

function tiles(state, c) {
	const p = parts(state, c);
	const all = fields(c).reduce((sum, [of]) => sum + p[`${of}_bytes`], 0);
	const share = n => all ? n / all : 0;
	const b = c.bucket;
	const fine = b && !b.read_error && !b.write_error;
	return h('div', { class: 'tiles' },
		c.peers && gateways(c.peers),
		b && tile('Bucket', fine ? 'In use' : b.read_error && b.write_error ? 'Not asked' : b.read_error ? 'Not read' : 'Not written', null,
			fine ? [b.last_failed ? ['Last failure ', when(b.last_failed)] : 'No failure since the start'] : ['Since ', when(b.read_since || b.write_since)]),
		b && tile('Uploads waiting', number(b.waiting), null, b.oldest_waiting ? ['The oldest since ', when(b.oldest_waiting)] : b.behind ? 'To be compared with the bucket soon' : 'All that was pulled is in the bucket'),
		tile('Without the registry', all ? percent(share(all - p.upstream_bytes)) : '–', all ? bar(fields(c).map(([of, name]) => `${name} ${percent(share(p[`${of}_bytes`]))}`).join(', '), fields(c).map(([of]) => [share(p[`${of}_bytes`]), of])) : null,
			all ? legend(fields(c).map(([of, name]) => [of, `${name} ${bytes(p[`${of}_bytes`])}`])) : 'Nothing was sent since the start'));
}

// places are the addresses of other gateways: one of each.
const places = p => p.members.filter(m => m.state !== 'self' && m.state !== 'other');

function gateways(p) {
	const others = places(p);
	const alive = others.filter(m => m.state === 'alive').length;
	const silent = others.filter(m => m.state === 'silent').length;
	return tile('Gateways alive', number(alive + 1), bar(`${alive + 1} of ${others.length + 1} gateways are alive`, [[(alive + 1) / (others.length + 1), silent ? 'warn' : 'good']]),
		`of ${number(others.length + 1)}, with this one${silent ? `; ${number(silent)} silent` : ''}`);
}

const states = { self: ['blue', 'this gateway'], alive: ['good', 'alive'], draining: ['warn', 'about to end'], other: ['', 'listed elsewhere'], silent: ['bad', 'silent'], unknown: ['', 'not asked yet'] };

function members(state, p) {
	const self = p.members.find(m => m.state === 'self');
	const order = ['self', 'alive', 'draining', 'silent', 'unknown', 'other'];
	const all = [...p.members].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.address.localeCompare(b.address));
	return card('Gateways', { aside: h('span', { class: 'small dim wrap' }, state.host ? [h('span', { class: 'mono' }, state.host), ' · '] : null, 'instance ', h('span', { class: 'mono' }, p.instance)) },
		table('Gateways', [['Address'], ['State'], ['Owns', 'num'], ['Version'], ['Clock'], ['Last failure']], all.map(m => [
			h('span', { class: 'mono wrap' }, m.address),
			h('span', {}, badge(states[m.state][0], states[m.state][1]), m.since && h('span', { class: 'small dim' }, ' since ', when(m.since))),
			m.share ? percent(m.share) : '–', version(m, state), clock(m),
			m.last_error ? h('span', { class: 'small wrap' }, m.state === 'silent' ? null : [when(m.last_failed), ': '], ticks(m.last_error.replace(`dial tcp ${m.address}: connect: `, ''))) : m.state === 'self' ? null : h('span', { class: 'dim' }, 'none')])),
		h('p', { class: 'small dim' }, `Asked others ${plural(p.asked, 'time')} and received ${bytes(p.received_bytes)}${p.failed ? `; ${number(p.failed)} of these failed` : ''}. Answered ${plural(p.answered, 'question')} of others and sent ${bytes(p.sent_bytes)}.`
			+ (self ? '' : ' None of the addresses is this gateway’s own: unless the others list it, they do not ask it.')));
}

function version(m, state) {
	const known = m.state === 'self' ? state.version : m.version;
	if (!known) return '–';
	return known === state.version ? h('span', { class: 'mono' }, known) : h('span', { class: 'badge warn', title: `This gateway is ${state.version}` }, known);
}

function clock(m) {
	if (m.state !== 'alive' && m.state !== 'draining') return '';
	const n = m.clock_ahead_seconds || 0;
	if (!n) return 'agrees';
	const text = `${lasting(Math.abs(n))} ${n > 0 ? 'ahead' : 'behind'}`;
	return Math.abs(n) >= 60 ? badge('warn', text) : text;
}

const fact = (name, ...value) => [h('dt', {}, name), h('dd', {}, value)];
const millis = seconds => seconds < 1 ? `${number(Math.max(Math.round(seconds * 1000), 1))} ms` : lasting(seconds);

function bucket(b) {
	const fine = !b.read_error && !b.write_error;
	const use = (error, since, word) => error ? h('span', {}, h('strong', {}, `not ${word}`), ' since ', when(since)) : `${word} as ever`;
	const late = b.first_byte_budget_seconds ? b.first_byte_p95_seconds / b.first_byte_budget_seconds : 0;
	return card('Bucket', { aside: badge(fine ? 'good' : 'bad', [h('i', { class: `dot ${fine ? 'good' : 'bad'}` }), fine ? 'in use' : 'fails']) },
		h('p', { class: 'mono wrap' }, b.bucket),
		h('dl', { class: 'facts' },
			fact('Reads', use(b.read_error, b.read_since, 'read')), fact('Writes', use(b.write_error, b.write_since, 'written')),
			fact('Received', `${bytes(b.received_bytes)}, in ${plural(b.reads, 'request')}`),
			fact('Sent', `${bytes(b.sent_bytes)}, in ${plural(b.writes, 'request')}`),
			fact('Failures', b.failures ? number(b.failures) : 'none since the start'),
			b.first_byte_p95_seconds ? fact('First byte', h('span', { title: 'Of the last 256 reads. One that takes longer than it may is given up, and the registry asked.' },
				`p50 ${millis(b.first_byte_p50_seconds)}, p95 ${millis(b.first_byte_p95_seconds)} of the ${millis(b.first_byte_budget_seconds)} that a read may take`), bar(`${percent(late)} of the time that a read may take`, [[late, late > .9 ? 'bad' : late > .5 ? 'warn' : 'good']])) : null,
			fact('Uploads', b.waiting ? [`${plural(b.waiting, 'upload')} not done, the oldest since `, when(b.oldest_waiting)] : 'none wait', b.behind ? '; all is going to be compared' : ''),
			fact('Removals', b.purge_error ? h('span', {}, h('strong', {}, 'not known'), ': ', ticks(b.purge_error)) : b.purges_read ? `known as of ${ago(b.purges_read)}` : 'not read yet'),
			b.last_error ? fact('Last failure', when(b.last_failed), ': ', ticks(b.last_error)) : null,
			// Of what is wrong now, the problems say so.
			fine && b.last_error && now() - Date.parse(b.last_failed) < 3600000 && b.help ? fact('What helps', ticks(b.help)) : null));
}

// contents is what all gateways have in the bucket, as of the last cleaning.
function contents(b) {
	const r = b.report;
	const doing = b.cleaning && { aside: badge('blue', `being cleaned: ${b.cleaning.step}`) };
	if (!r) return card('In the bucket', ...(doing ? [doing] : []), empty('Not known yet: one of the gateways counts it while it cleans the bucket, every six hours.'));
	const most = b.max_size || r.bytes;
	const pinned = Math.min(r.pinned_bytes, r.bytes);
	return card('In the bucket', ...(doing ? [doing] : []),
		h('p', { class: 'value' }, bytes(r.bytes), h('small', {}, b.max_size ? ` of ${bytes(b.max_size)} (max_size)` : ', without a limit')),
		most ? bar(`${bytes(r.bytes)}${b.max_size ? ` of ${bytes(b.max_size)}` : ''}, ${bytes(pinned)} of it pinned`, [[pinned / most, 'pinned'], [(r.bytes - pinned) / most, r.over ? 'warn' : 'c1']], true) : null,
		legend([['c1', plural(r.blobs, 'blob')], ...(pinned ? [['pinned', `${bytes(pinned)} pinned`]] : []), ...(b.max_size ? [['free', `room for ${bytes(Math.max(b.max_size - r.bytes, 0))}`]] : [])]),
		h('dl', { class: 'facts' },
			fact('Manifests', number(r.manifests)), fact('Proofs', number(r.proofs)),
			fact('Cleaned', when(r.ended), `, in ${lasting((Date.parse(r.ended) - Date.parse(r.begun)) / 1000)}, by whichever gateway`),
			fact('Went then', r.removed ? `${plural(r.removed, 'object')}, ${bytes(r.removed_bytes)}` : 'nothing'),
			b.removed ? fact('By this gateway', `${plural(b.removed, 'object')}, ${bytes(b.removed_bytes)}, since the start`) : null,
			b.clean_error ? fact('Not cleaned', when(b.clean_failed), ': ', ticks(b.clean_error)) : null));
}

// pinned are the pins that all gateways keep.
function pinned(b) {
	const all = (pins.data || []).filter(p => p.stored);
	const aside = { aside: h('span', { class: 'small dim' }, `${number(b.shared_pins)} in the bucket`) };
	if (pins.error) return card('Pins of all gateways', aside, empty(pins.error));
	if (!all.length) return card('Pins of all gateways', aside, empty(pins.data ? 'None. What one gateway pins, all of them and the bucket keep: pullgate mirror pin.' : 'Looking …'));
	return card('Pins of all gateways', aside, table('Pins of all gateways', [['Pattern'], ['Images here', 'num'], ['Keeps here', 'num'], ['Made']], all.map(p => [
		h('span', { class: 'mono wrap' }, p.pattern), number(p.images), bytes(p.bytes), when(p.made)])));
}
