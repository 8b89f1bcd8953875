package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// filled is the repository that blobs of filled stores belong to. Its upstream is
// offline.
var filled = oci.Scope{Upstream: "filled.test", Repository: "bench/image"}

const (
	// fillers is how many blobs are stored at a time: each waits for the disk.
	fillers = 64
	// smallSize is the size of the one blob that is not tiny.
	smallSize = 4 << 10
)

// fillStore makes a store of n blobs, each with its file, its record and its link,
// the way that fills do, and of a manifest.
func fillStore(ctx context.Context, dir string, n int, manifest []byte) (err error) {
	s, err := storage.Open(ctx, storage.Options{Path: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m := oci.Manifest{MediaType: manifestType, Digest: oci.Sum(manifest), Bytes: manifest}
	if err := s.PutManifest(ctx, filled, m, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan int)
	var wait sync.WaitGroup
	for range fillers {
		wait.Go(func() {
			for k := range todo {
				if err := putBlob(s, filledBlob(k)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for k := 0; k < n && ctx.Err() == nil; k++ {
		todo <- k
		if k%100_000 == 99_999 {
			say("  stored %d blobs", k+1)
		}
	}
	close(todo)
	wait.Wait()
	return context.Cause(ctx)
}

// filledBlob returns the bytes of the blob of that number: that number, and zeros
// to 4 KiB in the first one. A file of either takes a block of the disk.
func filledBlob(k int) []byte {
	if k == 0 {
		return make([]byte, smallSize)
	}
	return binary.BigEndian.AppendUint64(nil, uint64(k))
}

func filledDigest(k int) digest.Digest { return oci.Sum(filledBlob(k)) }

func putBlob(s *storage.Store, content []byte) error {
	d := oci.Descriptor{Digest: oci.Sum(content), Size: int64(len(content))}
	p, err := s.Part(context.Background(), filled, d.Digest, d.Size)
	if err != nil {
		return err
	}
	if _, err = p.WriteAt(content, 0); err == nil {
		err = p.Commit(d.Size)
	}
	return errors.Join(err, p.Close(), s.Link(context.Background(), filled, d))
}
