package index

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/pullgate/pullgate/storage/internal/record"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// restoreBatch is how many bytes of records are restored at once.
	restoreBatch = 256 << 10
	// maxKey is more than the longest key: that of a tag.
	maxKey = 4 << 10
	// restoreTries is how often a snapshot is tried again that the disk does not
	// give, before an older one is used: as often as limits are looked at.
	restoreTries = 3
)

// errSnapshot means that a snapshot is not what was written.
var errSnapshot = errors.New("snapshot is damaged")

// Restore gives back to the index what it lost, from the newest snapshot that is
// whole. What the index knows already is newer and stays.
func (v *Snapshots) Restore(ctx context.Context) {
	x := v.index
	if !x.State().Restore {
		return
	}
	names, err := v.List()
	if err != nil {
		x.Log.Error("index not restored", "error", err)
		return
	}
	for _, name := range names {
		records, err := v.RestoreFrom(ctx, name)
		switch {
		case err == nil:
			x.Log.Warn("index restored", "snapshot", name, "records", records)
			x.Note(func(st *volume.State) { st.Restore = false })
			return
		case ctx.Err() != nil:
			return
		case !damaged(err), unreadable(err) && v.unread < restoreTries:
			// There will be room later, and a disk may recover.
			if damaged(err) {
				v.unread++
			}
			x.Log.Error("index not restored", "snapshot", name, "error", err)
			return
		}
		x.Log.Error("snapshot of the index cannot be read", "snapshot", name, "error", err)
	}
	x.Log.Warn("no snapshot to restore the index from: upstreams are asked again")
	x.Note(func(st *volume.State) { st.Restore = false })
}

// unreadable reports whether it is the disk that gave no answer, and not the
// content of a file that is wrong.
func unreadable(err error) bool {
	var failed *fs.PathError
	return errors.As(err, &failed) && !errors.Is(err, fs.ErrNotExist)
}

// RestoreFrom reads a snapshot twice: nothing of one that is not whole is used. Pins
// come first, as blobs go meanwhile.
func (v *Snapshots) RestoreFrom(ctx context.Context, name string) (records int64, err error) {
	var pins []Record
	_, err = v.Read(ctx, name, func(r Record) error {
		if r.Key[0] == TablePin {
			pins = append(pins, r)
		}
		return nil
	})
	if err == nil {
		err = v.index.Update(restoreBatch, func(b *Batch) error { return b.restore(pins) })
	}
	if err != nil {
		return 0, err
	}
	var pending []Record
	var bytes int
	flush := func() error {
		some := pending
		pending, bytes = nil, 0
		return v.index.Update(restoreBatch, func(b *Batch) error { return b.restore(some) })
	}
	records, err = v.Read(ctx, name, func(r Record) error {
		pending, bytes = append(pending, r), bytes+len(r.Key)+len(r.Value)
		if bytes < restoreBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return records, err
}

// restore writes those records that the index does not have.
func (b *Batch) restore(records []Record) error {
	for _, r := range records {
		old, err := b.Get(r.Key)
		if err == nil && record.Intact(old) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := b.Set(r.Key, r.Value); err != nil {
			return err
		}
	}
	return nil
}

// Read calls fn for each record of a snapshot, and returns how many
// there are. Records that are not intact are left out.
func (v *Snapshots) Read(ctx context.Context, name string, fn func(Record) error) (records int64, err error) {
	f, err := v.index.Root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	r := bufio.NewReader(z)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != snapshotMagic {
		return 0, fmt.Errorf("%w: begins %q: %w", errSnapshot, magic, errOr(err, io.ErrUnexpectedEOF))
	}
	for {
		if err := ctx.Err(); err != nil {
			return records, err
		}
		key, err := readText(r, maxKey)
		if err != nil {
			return records, err
		}
		if len(key) == 0 {
			return records, readEnd(r, records)
		}
		value, err := readText(r, 2*MaxValue)
		if err != nil {
			return records, err
		}
		records++
		if !strings.ContainsRune(snapshotTables, rune(key[0])) || !record.Intact(value) {
			continue
		}
		if err := fn(Record{key, value}); err != nil {
			return records, err
		}
	}
}

// readText reads a length and as many bytes, at most most.
func readText(r *bufio.Reader, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err == nil && n > most {
		return nil, fmt.Errorf("%w: %d bytes in one record", errSnapshot, n)
	}
	if err == nil && n > 0 {
		b := make([]byte, n)
		if _, err = io.ReadFull(r, b); err == nil {
			return b, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	return nil, nil
}

// readEnd reads what stands behind the last record, and with it the checksum of
// the whole.
func readEnd(r *bufio.Reader, records int64) error {
	n, err := binary.ReadUvarint(r)
	if err == nil && n == uint64(records) {
		if _, err = r.ReadByte(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	return fmt.Errorf("%w: it ends wrongly: %w", errSnapshot, errOr(err, io.ErrUnexpectedEOF))
}

// errOr returns err, or other if there is none.
func errOr(err, other error) error {
	if err == nil {
		return other
	}
	return err
}
