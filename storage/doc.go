// Package storage is where content lies on one machine: blobs as files, and
// manifests, tags, links, referrers and the index of the blobs in Badger.
//
// # On disk
//
//	<root>/                              0700
//	  LOCK                               flock and pid of the one owner
//	  VERSION                            {"layout":1}
//	  state                              how the last run of the store went
//	  admin.sock                         the server's, to be found by commands
//	  shared.json                        what is known of a bucket that gateways share
//	  history.json.gz                    how much the server did, minute by minute
//	  ballast                            space to give back when the disk is full
//	  meta/                              Badger
//	  meta.bad-<utc>/                    the last Badger that did not open
//	  snapshot/meta-<utc>.zst            tags, manifests, links, referrers and pins, to restore
//	  blobs/sha256/<3 hex>/<64 hex>      finished, verified, read-only
//	  ingest/<alg>-<hex>.part + .json    running or suspended fills
//	  quarantine/<utc>-<hex>.bad + .json what failed its check, the newest
//
// # Invariants
//
// The file system is the truth for blobs, Badger is an index of it: a record
// without a file is a miss, a file without a record is verified before its first
// use, and then adopted, and so is one that cannot be opened a miss. A file gets to its
// place in blobs/ by one rename, after its bytes were verified by the caller, and never
// changes there. It is brought to the disk after that; until then the store does not
// count as closed properly. So what a client has in full outlives the process, and
// what a power failure may have taken is in doubt.
//
// A part says beside it what it holds: written down while it comes, and when the
// store closes.
//
// Everything that takes space is accounted for. After a crash, or with an index
// begun anew, there may be files without a record: a walk in the background looks
// for them, again after the next opening until it got to the end. What could not be
// recorded, or is damaged and could not be moved away, is tried again.
//
// A recorded file is trusted, except those that were written last before the
// machine went down: these are verified before they are used, too. A large one is
// served meanwhile, except its end. A scrub reads
// all of them again over a month. What fails goes to quarantine/, and is a miss.
// Check does that at once, and looks at all the rest, too.
//
// Everything unexpected is a miss: a record of an unknown version or with a
// wrong checksum, a file of the wrong size, a manifest that does not match its
// digest. Absence is fs.ErrNotExist; any other error means that the store does
// not know, and a caller goes on without it.
//
// Badger writes through mappings of sparse files, where a full disk is answered
// with a SIGBUS. So below a reserve of free space nothing is written: ErrNoSpace.
// Where another process takes the reserve at the wrong moment, package mapfault
// keeps ours alive: the index goes on from memory, and its files are begun anew at
// the next opening, from a snapshot that was written at the end.
//
// Limits hold at every moment: a blob that does not fit waits, with all its
// readers served, until others were evicted, or is not kept. Nothing goes for what is
// only asked for: room is made for a first byte. The least recently
// used go first; what is pinned or open never does. The one exception to pins is a
// disk so full that the index cannot be opened: then nobody knows what is pinned,
// and old files go that are. Manifests, tags and links are small, and go only when
// nobody used them for long, and by default only where the blobs are gone.
//
// Nothing that lies on the disk keeps a store from opening. An index that does
// not open, or that two starts in a row died of, is set aside and begun anew. On
// a disk too full for it, or read-only, the store reads one that was closed well, or works
// without: ErrNoIndex. Permission is never guessed: where links are not known, the
// upstream has to confirm. What an index lost comes back from a snapshot, with nothing
// that is newer overwritten.
//
// What is removed under an open store is made again where a part needs it. Without
// the directory itself, or that of the index, it keeps nothing more: ErrGone.
//
// # Where what lives
//
// A [Store] is its [Records] (tags, manifests, links, origins, referrers), its [Blobs]
// (files, parts) and its pins. A keeper evicts, forgets and saves. Below them:
//
//   - internal/index: Badger, and every fence around it; the records and their keys.
//   - internal/images: what belongs together: pins, catalog, inventory, removal, forgetting.
//   - internal/eviction: limits, what goes for them, and uses.
//   - internal/integrity: what hashes, judges and quarantines.
//   - internal/volume: files, space, lock and state; internal/record: their encoding.
//   - internal/life: calls and tasks that are under way, and what becomes of panics.
//
// # Who owns what
//
// A Store owns its directory, by an flock that is taken before anything else is
// looked at; nobody else may write to it. One goroutine makes all index writes, one
// writes down when blobs were used and evicts, one does what takes long: it counts the
// blobs after opening, restores an index, and saves snapshots; beside them one scrubs.
// No lock is held across a wait for the index. Close ends them all, and leaves behind
// what does not end. Every method may be called at any time, also after Close, and
// concurrently with all others.
//
// A Part is owned by the fill that asked for it until Commit, Suspend or Remove
// ends it, and its descriptor until Close. A File from OpenBlob belongs to the caller,
// who closes it, and outlives both eviction and the store.
package storage
