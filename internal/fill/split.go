package fill

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

// split is where a fill ended because the store takes no more bytes. Readers go
// on from there by themselves, each with GETs of its own. state is the hash of
// everything before, so they verify the blob as the fill would have.
type split struct {
	at    int64
	state hash.Hash

	mu   sync.Mutex
	body *oci.BlobBody // the fill's own, at offset 0, for the first who takes it
}

// take returns the body if it begins at the split; the caller closes it.
func (s *split) take() *oci.BlobBody {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil || s.body.Offset != s.at {
		return nil
	}
	body := s.body
	s.body = nil
	return body
}

func (s *split) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		return nil
	}
	body := s.body
	s.body = nil
	return body.Close()
}

// direct reads the rest of a blob past the store, from the split on. It belongs to
// one reader.
type direct struct {
	ctx      context.Context
	cancel   context.CancelFunc
	unhook   func() bool
	sender   sender
	size     int64
	off      int64
	body     *oci.BlobBody
	hash     hash.Hash // of all bytes before off
	tail     []byte    // verified, not yet read
	stumbles stumbles
	got      int64 // from the last GET
	began    time.Time
}

func newDirect(ctx context.Context, f *Fill) (*direct, error) {
	v := f.outcome.now()
	cloner, ok := v.split.state.(hash.Cloner)
	if !ok {
		return nil, fmt.Errorf("read blob %s: its hash cannot be cloned", f.Digest)
	}
	state, err := cloner.Clone()
	if err != nil {
		return nil, fmt.Errorf("read blob %s: clone its hash: %w", f.Digest, err)
	}
	d := &direct{size: v.size, off: v.split.at, hash: state, body: v.split.take(), began: f.Now()}
	d.sender = sender{Options: &f.Options, party: pace.NewParty(1), known: true}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.unhook = context.AfterFunc(f.ctx, d.cancel)
	return d, nil
}

func (d *direct) close() error {
	d.unhook()
	d.cancel()
	if d.body == nil {
		return nil
	}
	return d.body.Close()
}

// Read gives bytes as they come, but the held-back end only once it is verified.
func (d *direct) Read(p []byte) (int, error) {
	if len(d.tail) > 0 {
		n := copy(p, d.tail)
		d.tail, d.off = d.tail[n:], d.off+int64(n)
		return n, nil
	}
	left := d.size - d.off
	if left == 0 {
		return 0, io.EOF
	}
	if left -= held(d.size); left > 0 {
		n, err := d.pull(p[:min(int64(len(p)), left)])
		_, _ = d.hash.Write(p[:n])
		return n, err
	}
	if err := d.verify(); err != nil {
		return 0, err
	}
	return d.Read(p)
}

func (d *direct) verify() error {
	tail := make([]byte, d.size-d.off)
	start := d.off
	for got := 0; got < len(tail); {
		n, err := d.pull(tail[got:])
		got += n
		if err != nil {
			return err
		}
	}
	_, _ = d.hash.Write(tail)
	if want := d.sender.Digest; digest.NewDigest(want.Algorithm(), d.hash) != want {
		err := oci.UpstreamError(oci.ClassDigest, "", "the upstream's bytes do not match the digest", nil)
		d.sender.Policy.Failed(Outcome{Err: err})
		d.sender.Log.Error("blob does not match its digest")
		return err
	}
	d.tail, d.off = tail, start
	return nil
}

// pull reads at d.off and advances it, over as many GETs as it takes.
func (d *direct) pull(p []byte) (int, error) {
	for {
		n, err := d.read(p)
		if n > 0 {
			d.off += int64(n)
			d.got += int64(n)
			return n, nil
		}
		if err == nil {
			continue
		}
		if d.body != nil {
			_ = d.body.Close()
			d.body = nil
		}
		if errors.Is(err, pace.ErrYielded) {
			continue
		}
		now := d.sender.Now()
		pause, ok := d.stumbles.note(d.got, now.Sub(d.began))
		pause += oci.AsError(err).RetryAfter
		if d.ctx.Err() != nil || !ok || !resumable(err) || pause > maxPause || pause > 0 && !d.sender.sleep(d.ctx, pause) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, fmt.Errorf("get blob %s@%s: %w", d.sender.Scope, d.sender.Digest, classed(err))
		}
		d.got, d.began = 0, d.sender.Now()
	}
}

func (d *direct) read(p []byte) (int, error) {
	if d.body == nil {
		body, err := d.sender.get(d.ctx, request{offset: d.off, length: -1})
		if err != nil {
			return 0, err
		}
		d.body = &body
		if body.Offset > d.off || body.Size >= 0 && body.Size != d.size {
			return 0, oci.UpstreamError(oci.ClassLength, "", "the upstream sent another part of the blob than was asked for", nil)
		}
		if _, err := io.CopyN(io.Discard, body, d.off-body.Offset); err != nil {
			return 0, err
		}
	}
	return d.body.Read(p)
}
