package storage

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
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/zstd"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// A snapshot is written some time after the opening, each night and at the
	// end, if anything changed.
	snapshotFirst = 10 * time.Minute
	snapshotEvery = 24 * time.Hour
	// snapshotLast bounds how long the snapshot at the end holds up Close. One
	// that takes longer is left to the next night.
	snapshotLast = 3 * time.Second
	// snapshotsKept is how many there are: a torn one has one before it.
	snapshotsKept = 2
	// A snapshot that shrank to less than this share of what was last written is
	// suspected of a damaged index.
	snapshotShare = 0.9

	snapshotDir    = "snapshot"
	snapshotPrefix = "meta-"
	snapshotSuffix = ".zst"
	snapshotTime   = "20060102T150405Z"
	snapshotMagic  = "pullgate snapshot 1\n"
)

// snapshotTables is what cannot be found out again from the blobs.
const snapshotTables = string(rune(tableTag)) + string(rune(tableScope)) + string(rune(tableManifest)) +
	string(rune(tableLink)) + string(rune(tableReferrers)) + string(rune(tableOrigin)) + string(rune(tablePin))

// saveSnapshot writes a snapshot if anything changed since the last one, and the
// index is whole: thorough looks at all of it, not only where it lost much. Only
// the house keeper and Close call it.
func (s *Store) saveSnapshot(ctx context.Context, thorough bool) {
	db, changes := s.db.Load(), s.index.changes.Load()
	if db == nil || changes == s.saved || s.state.Restore {
		return
	}
	if damage := s.damage.Load(); damage != nil {
		if !errors.Is(*damage, errUnbacked) {
			return
		}
		// What the files lack is in memory, but for what could not be read.
		thorough = true
	}
	tables, logs := db.Size()
	err := s.space.CheckFloor(tables + logs)
	var records int64
	if err == nil {
		records, err = s.writeSnapshot(ctx, db, thorough)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("snapshot of the index not written", "error", err)
		}
		return
	}
	s.saved = changes
	s.noteState(func(st *volume.State) { st.Records = records })
	s.log.Debug("snapshot of the index written", "records", records)
}

// writeSnapshot writes a snapshot, and removes the ones that are too many.
func (s *Store) writeSnapshot(ctx context.Context, db *badger.DB, thorough bool) (records int64, err error) {
	if err := s.root.MkdirAll(snapshotDir, 0o700); err != nil {
		return 0, err
	}
	old, err := s.snapshots()
	if err != nil {
		return 0, err
	}
	outdated := s.outdated.Swap(false) // before it is read what there is
	defer func() {
		if err != nil && outdated {
			s.outdated.Store(true)
		}
	}()
	name := nextSnapshot(s.now(), old)
	f, err := s.root.OpenFile(name+volume.Temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	records, err = dump(ctx, db, f)
	if err == nil {
		err = f.Datasync()
	}
	err = errors.Join(err, f.Close())
	// An iterator does not tell the end of a table from damage in it.
	if err == nil && (thorough || float64(records) < snapshotShare*float64(s.state.Records)) {
		err = s.verifyIndex(db)
	}
	if err == nil {
		err = s.root.Rename(name+volume.Temporary, name)
	}
	if err != nil {
		return 0, errors.Join(err, s.root.Remove(name+volume.Temporary))
	}
	kept := snapshotsKept - 1
	if outdated {
		kept = 0
	}
	for _, name := range old[min(len(old), kept):] {
		if err := s.root.Remove(name); err != nil {
			s.log.Warn("remove old snapshot", "name", name, "error", err)
		}
	}
	return records, nil
}

// snapshots returns the files of the snapshots, the newest first.
func (s *Store) snapshots() ([]string, error) {
	entries, err := s.root.ReadDir(snapshotDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), snapshotPrefix) && strings.HasSuffix(e.Name(), snapshotSuffix) {
			names = append(names, path.Join(snapshotDir, e.Name()))
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// nextSnapshot returns a name that sorts after all there are, also when the
// clock went back.
func nextSnapshot(now time.Time, old []string) string {
	now = now.UTC().Truncate(time.Second)
	if len(old) > 0 {
		stamp := strings.TrimSuffix(strings.TrimPrefix(path.Base(old[0]), snapshotPrefix), snapshotSuffix)
		if last, err := time.Parse(snapshotTime, stamp); err == nil && !now.After(last) {
			now = last.Add(time.Second)
		}
	}
	return path.Join(snapshotDir, snapshotPrefix+now.Format(snapshotTime)+snapshotSuffix)
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
