package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// ScrubRate is the default rate of Scrub in bytes per second.
	ScrubRate = 20_000_000
	// scrubEvery is how long after one pass in the background ended the next
	// begins, and scrubDelay how long after the opening the first goes on.
	scrubEvery = 30 * 24 * time.Hour
	scrubDelay = time.Hour
	// scrubNote is how often the position of a pass is written down.
	scrubNote = time.Minute
	// hashStep is how much is read at once.
	hashStep = 256 << 10
)

// errDigest means that a file has not the digest that is its name.
var errDigest = errors.New("bytes do not match the digest")

// Scrubbed is how far a Scrub got.
type Scrubbed struct {
	// Blobs and Bytes were read.
	Blobs, Bytes int64
	// Damaged blobs did not match their digest, or could not be read, and were
	// taken out of use.
	Damaged int64
}

// Scrub reads all finished blobs, at most rate bytes per second (0 = ScrubRate,
// less = no limit), and takes those out of use that do not match their digest:
// the next request for them goes to the upstream. progress, if not nil, is
// called after each blob, from the same goroutine. It stops when ctx is done or
// the store closed, with that error and how far it got.
func (s *Store) Scrub(ctx context.Context, rate int64, progress func(Scrubbed)) (Scrubbed, error) {
	p := pass{store: s, pace: newPace(rate), progress: progress}
	if err := p.run(ctx, ""); err != nil {
		return p.done, fmt.Errorf("scrub blobs: %w", err)
	}
	return p.done, nil
}

// pass is one walk through the blobs.
type pass struct {
	store    *Store
	pace     *Pace
	wanted   func(id, fs.FileInfo) bool // nil = all
	progress func(Scrubbed)             // may be nil
	at       func(shard string)         // called before each directory; may be nil
	done     Scrubbed
}

// run scrubs the directories from the given one on.
func (p *pass) run(ctx context.Context, from string) error {
	shards, err := p.store.listed(p.store.shards)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		if shard < from {
			continue
		}
		if p.at != nil {
			p.at(shard)
		}
		names, err := p.store.listed(func() ([]string, error) { return p.store.names(shard) })
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := p.blob(ctx, path.Base(path.Dir(shard)), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed calls fn within the life of the store.
func (s *Store) listed(fn func() ([]string, error)) ([]string, error) {
	if err := s.enter(context.Background()); err != nil {
		return nil, err
	}
	defer s.leave()
	return fn()
}

func (s *Store) names(dir string) ([]string, error) {
	entries, err := s.root.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// blob scrubs one blob. The store may close while it is read.
func (p *pass) blob(ctx context.Context, algorithm, sum string) error {
	s := p.store
	i, err := idOf(digest.NewDigestFromEncoded(digest.Algorithm(algorithm), sum))
	if err != nil {
		return nil // not a file of ours
	}
	var f file
	_, err = s.listed(func() (_ []string, err error) { f, err = s.root.Open(i.blobPath()); return nil, err })
	if errors.Is(err, ErrClosed) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.suspects.absolve(i)
		return nil
	}
	var info fs.FileInfo
	if err == nil {
		defer f.Close()
		if info, err = f.Stat(); err == nil && p.wanted != nil && !p.wanted(i, info) {
			return nil
		}
	}
	if err == nil {
		err = match(ctx, f, i, p.pace)
		f.dropPages()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if errors.Is(err, fs.ErrPermission) || exhausted(err) {
		return err
	}
	if err := s.enter(context.Background()); err != nil {
		return err
	}
	defer s.leave()
	p.done.Blobs++
	switch {
	case err == nil:
		p.done.Bytes += info.Size()
		s.suspects.absolve(i)
		// A record that is wrong, or not there, becomes right.
		if old, known := s.blobRecord(i); !known || old.size != info.Size() {
			if err := s.record(i, info, s.now()); err != nil {
				s.log.Debug("blob is verified but not recorded", "digest", i.digest(), "error", err)
				if !errors.Is(err, fs.ErrNotExist) {
					s.suspects.trust(i)
				}
			}
		}
	case s.quarantine(i, info, err):
		p.done.Damaged++
	}
	if p.progress != nil {
		p.progress(p.done)
	}
	return nil
}

// unchanged returns nil if the file of a blob is still the one that was read,
// fs.ErrNotExist if it is not, and another error if that cannot be found out.
func (s *Store) unchanged(i id, info fs.FileInfo) error {
	now, err := s.root.Lstat(i.blobPath())
	if err == nil && !os.SameFile(now, info) {
		return fs.ErrNotExist
	}
	return err
}

// match returns errDigest if a file has not the digest of the id, or why it
// cannot be read.
func match(ctx context.Context, f io.ReaderAt, i id, p *Pace) error {
	hash := i.algorithm().Hash()
	buffer := make([]byte, hashStep)
	for off := int64(0); ; {
		if err := p.wait(ctx, hashStep); err != nil {
			return err
		}
		n, err := f.ReadAt(buffer, off)
		hash.Write(buffer[:n])
		off += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if string(hash.Sum(nil)) != string(i[1:]) {
		return errDigest
	}
	return nil
}

// Pace keeps what is read of blobs to a rate; nil keeps to none. It is safe for
// concurrent use: all who read by one share its rate.
type Pace struct {
	rate int64

	mu    sync.Mutex
	begun time.Time
	spent int64
}

// NewPace returns the pace of a rate in bytes per second; 0 = none.
func NewPace(rate int64) *Pace {
	if rate == 0 {
		return nil
	}
	return newPace(rate)
}

// newPace returns the pace of a rate as Scrub has it: 0 = ScrubRate, less = none.
func newPace(rate int64) *Pace {
	if rate == 0 {
		rate = ScrubRate
	}
	if rate < 0 {
		return nil
	}
	return &Pace{rate: rate}
}

// wait waits until so many bytes more may be read.
func (p *Pace) wait(ctx context.Context, bytes int64) error {
	if p == nil {
		return ctx.Err()
	}
	ahead := p.spend(bytes)
	if ahead <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spend counts bytes, and returns how long to wait before they are read.
func (p *Pace) spend(bytes int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	ahead := time.Duration(float64(p.spent)/float64(p.rate)*float64(time.Second)) - now.Sub(p.begun)
	if p.begun.IsZero() || ahead < -time.Second {
		// What was not used is not saved up for a burst.
		p.begun, p.spent, ahead = now, 0, 0
	}
	p.spent += bytes
	return ahead
}
