package index

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/zstd"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// replacePatience is how long Replace waits.
	replacePatience = 30 * time.Second
	// SnapshotsKept is how many there are: a torn one has one before it.
	SnapshotsKept = 2
	// A snapshot that shrank to less than this share of what was last written is
	// suspected of a damaged index.
	snapshotShare = 0.9

	// SnapshotDir is where the snapshots lie.
	SnapshotDir = "snapshot"
	// SnapshotPrefix is what their names begin with; the time follows.
	SnapshotPrefix = "meta-"
	// SnapshotSuffix is what their names end with.
	SnapshotSuffix = ".zst"
	// SnapshotTime is the layout of the time in their names.
	SnapshotTime  = "20060102T150405Z"
	snapshotMagic = "pullgate snapshot 1\n"
)

// snapshotTables is what cannot be found out again from the blobs.
const snapshotTables = string(rune(TableTag)) + string(rune(TableScope)) + string(rune(TableManifest)) +
	string(rune(TableLink)) + string(rune(TableReferrers)) + string(rune(TableOrigin)) + string(rune(TablePin))

// Snapshots are the files from which an index that is lost is restored. One goroutine at
// a time uses them.
type Snapshots struct {
	index  *Index
	saved  int64 // writer.changes as of the last snapshot
	unread int   // how often a snapshot could not be read
	// outdated says that those that are there hold what was removed.
	outdated atomic.Bool
	// asked asks for one that takes the place of all others, and is told of its end.
	asked chan chan struct{}
	// newest is when the newest one was made, in seconds since 1970; 0 = none is known.
	newest atomic.Int64
}

// NewSnapshots returns the snapshots of an index.
func NewSnapshots(x *Index) *Snapshots { return &Snapshots{index: x, asked: make(chan chan struct{})} }

// Outdate says that the snapshots that there are hold what was removed: the next one
// takes the place of them all. It reports whether there are any.
func (v *Snapshots) Outdate() bool {
	names, err := v.List()
	if err == nil && len(names) == 0 {
		return false
	}
	v.outdated.Store(true)
	return true
}

// Replace has a snapshot written in place of those that hold what was removed: no index
// that is lost later brings it back.
func (v *Snapshots) Replace(ctx context.Context) {
	if !v.Outdate() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, replacePatience)
	defer cancel()
	done := make(chan struct{})
	select {
	case v.asked <- done:
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	if v.outdated.Load() {
		v.index.Log.Warn("snapshots of the index still hold what was removed: they are replaced with the next one")
	}
}

// Asked asks whoever uses the snapshots to Save one, and to close what it sends then.
func (v *Snapshots) Asked() <-chan chan struct{} { return v.asked }

// Save writes a snapshot if anything changed since the last one, and the
// index is whole: thorough looks at all of it, not only where it lost much.
func (v *Snapshots) Save(ctx context.Context, thorough bool) {
	x := v.index
	db, changes := x.db.Load(), x.changes.Load()
	if db == nil || changes == v.saved || x.State().Restore {
		return
	}
	if damage := x.damage.Load(); damage != nil {
		if !errors.Is(*damage, ErrUnbacked) {
			return
		}
		// What the files lack is in memory, except what could not be read.
		thorough = true
	}
	_, size := x.Size()
	err := x.Space.CheckFloor(size)
	var records int64
	if err == nil {
		records, err = v.write(ctx, db, thorough)
	}
	if err != nil {
		if ctx.Err() == nil {
			x.Log.Warn("snapshot of the index not written", "error", err)
		}
		return
	}
	v.saved = changes
	x.Note(func(st *volume.State) { st.Records = records })
	x.Log.Debug("snapshot of the index written", "records", records)
}

// write writes a snapshot, and removes the ones that are too many.
func (v *Snapshots) write(ctx context.Context, db *badger.DB, thorough bool) (records int64, err error) {
	x := v.index
	if err := x.Root.MkdirAll(SnapshotDir, 0o700); err != nil {
		return 0, err
	}
	old, err := v.List()
	if err != nil {
		return 0, err
	}
	outdated := v.outdated.Swap(false) // before it is read what there is
	defer func() {
		if err != nil && outdated {
			v.outdated.Store(true)
		}
	}()
	name := nextSnapshot(x.Now(), old)
	f, err := x.Root.OpenFile(name+volume.Temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	records, err = dump(ctx, db, f)
	if err == nil {
		err = f.Datasync()
	}
	err = errors.Join(err, f.Close())
	// An iterator does not tell the end of a table from damage in it.
	if err == nil && (thorough || float64(records) < snapshotShare*float64(x.State().Records)) {
		err = x.Verify()
	}
	if err == nil {
		err = x.Root.Rename(name+volume.Temporary, name)
	}
	if err != nil {
		return 0, errors.Join(err, x.Root.Remove(name+volume.Temporary))
	}
	v.newest.Store(SnapshotMade(name).Unix())
	kept := SnapshotsKept - 1
	if outdated {
		kept = 0
	}
	for _, name := range old[min(len(old), kept):] {
		if err := x.Root.Remove(name); err != nil {
			x.Log.Warn("remove old snapshot", "name", name, "error", err)
		}
	}
	return records, nil
}

// List returns the files of the snapshots, the newest first.
func (v *Snapshots) List() ([]string, error) {
	entries, err := v.index.Root.ReadDir(SnapshotDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), SnapshotPrefix) && strings.HasSuffix(e.Name(), SnapshotSuffix) {
			names = append(names, path.Join(SnapshotDir, e.Name()))
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	newest := int64(0)
	if len(names) > 0 {
		newest = SnapshotMade(names[0]).Unix()
	}
	v.newest.Store(newest)
	return names, nil
}

// Newest returns when the newest snapshot was made; zero = there is none, as far as is
// known.
func (v *Snapshots) Newest() time.Time {
	if at := v.newest.Load(); at > 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}

// nextSnapshot returns a name that sorts after all there are, also when the
// clock went back.
func nextSnapshot(now time.Time, old []string) string {
	now = now.UTC().Truncate(time.Second)
	if len(old) > 0 {
		if last := SnapshotMade(old[0]); !last.IsZero() && !now.After(last) {
			now = last.Add(time.Second)
		}
	}
	return path.Join(SnapshotDir, SnapshotPrefix+now.Format(SnapshotTime)+SnapshotSuffix)
}

// dump writes the records of the index as they are at one moment: the magic,
// then key and value of each with their lengths, then a key of no length and the
// number of records.
func dump(ctx context.Context, db *badger.DB, to io.Writer) (records int64, err error) {
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return 0, err
	}
	// Whatever is written below is read by nobody unless Close succeeds.
	w := bufio.NewWriter(z)
	_, _ = w.WriteString(snapshotMagic)
	txn := &Txn{db.NewTransaction(false)}
	defer txn.Discard()
	for _, table := range []byte(snapshotTables) {
		n, err := dumpTable(ctx, txn, table, w)
		if records += n; err != nil {
			return records, errors.Join(err, z.Close())
		}
	}
	_, _ = w.Write(binary.AppendUvarint([]byte{0}, uint64(records)))
	return records, errors.Join(w.Flush(), z.Close())
}

func dumpTable(ctx context.Context, txn *Txn, table byte, w *bufio.Writer) (records int64, err error) {
	var head []byte
	err = txn.Each(ctx, []byte{table}, func(key, value []byte) error {
		head = binary.AppendUvarint(head[:0], uint64(len(key)))
		head = append(head, key...)
		head = binary.AppendUvarint(head, uint64(len(value)))
		_, err := w.Write(head)
		if err == nil {
			_, err = w.Write(value)
		}
		if err != nil {
			return fmt.Errorf("dump table %c: %w", table, err)
		}
		records++
		return nil
	})
	return records, err
}

// SaveAll writes a snapshot of everything, and of what an older one holds that the index
// lacks. It returns an error only if ctx is done.
func (v *Snapshots) SaveAll(ctx context.Context) error {
	x := v.index
	if x.State().Restore {
		return nil // the snapshot knows more than the index
	}
	records, err := v.write(ctx, x.db.Load(), true)
	if err != nil {
		x.Log.Warn("no snapshot of the index before it is rebuilt", "error", err)
		return ctx.Err()
	}
	x.Note(func(st *volume.State) { st.Records = records })
	return nil
}

// SnapshotMade returns when a snapshot was made, by its name; zero = unknown.
func SnapshotMade(name string) time.Time {
	stamp := strings.TrimSuffix(strings.TrimPrefix(path.Base(name), SnapshotPrefix), SnapshotSuffix)
	made, err := time.Parse(SnapshotTime, stamp)
	if err != nil {
		return time.Time{}
	}
	return made
}

// Remove removes a snapshot, as if something had changed: the next one is written soon.
func (v *Snapshots) Remove(name string) error {
	v.index.changes.Add(1)
	err := v.index.Root.Remove(name)
	_, _ = v.List() // so that the newest one is known
	return err
}
