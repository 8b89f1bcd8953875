package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func BenchmarkManifestHit(b *testing.B) {
	f := newFixture(b)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	for name, r := range map[string]string{"tag": "3", "digest": image.Index.Digest.String()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := f.mirror.Manifest(b.Context(), manifestRequest(r)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBlobHit(b *testing.B) {
	f := newFixture(b)
	r := blobRequest(f.upstream.PutBlob(repository, registrytest.Random(1, 2*mib)))
	if _, _, err := f.pull(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	f.filled()
	b.ReportAllocs()
	for b.Loop() {
		blob, _, err := f.mirror.Blob(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		_ = blob.Content.Close()
	}
}

func benchmarkCold(b *testing.B, readers int) {
	const size = 64 * mib
	f := newFixture(b)
	content := registrytest.Random(1, size)
	b.SetBytes(int64(size * readers))
	b.ReportAllocs()
	var used time.Duration
	for i := 0; b.Loop(); i++ {
		content[0], content[1] = byte(i), byte(i>>8)
		r := blobRequest(f.upstream.PutBlob(repository, content))
		began := processorTime(b)
		var wait sync.WaitGroup
		for range readers {
			wait.Go(func() {
				blob, _, err := f.mirror.Blob(b.Context(), r)
				if err != nil {
					b.Error(err)
					return
				}
				defer blob.Content.Close()
				// As the wire copies: a buffer, and no short cuts.
				buffer := make([]byte, 128<<10)
				for err == nil {
					_, err = blob.Content.Read(buffer)
				}
				if !errors.Is(err, io.EOF) {
					b.Error(err)
				}
			})
		}
		wait.Wait()
		f.filled()
		used += processorTime(b) - began
	}
	b.ReportMetric(used.Seconds()/(float64(b.N)*size/1e9), "cpu-s/GB")
}

// told is an upstream that costs nothing but a copy of pieces that come at once, as
// large as they may be.
type told struct {
	*remote

	content []byte
	piece   int
}

func (t told) Blob(_ context.Context, _ string, _ digest.Digest, offset, _ int64) (oci.BlobBody, error) {
	return oci.BlobBody{
		ReadCloser: io.NopCloser(&pieces{bytes.NewReader(t.content[offset:]), t.piece}), Offset: offset, Size: int64(len(t.content)),
	}, nil
}

type pieces struct {
	*bytes.Reader

	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

// BenchmarkFill is the fill alone: receiving, writing, hashing, and nobody who reads.
// 16 KiB is what a read of a TLS connection gives.
func BenchmarkFill(b *testing.B) {
	const size = 64 * mib
	for _, piece := range []int{16 << 10, mib} {
		b.Run(strconv.Itoa(piece>>10)+"KiB", func(b *testing.B) {
			f := newFixture(b)
			content := registrytest.Random(1, size)
			b.SetBytes(size)
			b.ReportAllocs()
			var used time.Duration
			for i := 0; b.Loop(); i++ {
				content[0], content[1] = byte(i), byte(i>>8)
				r := blobRequest(oci.Sum(content))
				f.policy.Remote = told{f.remote, content, piece}
				f.configure()
				began := processorTime(b)
				blob, _, err := f.mirror.Blob(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				_ = blob.Content.Close()
				f.filled()
				used += processorTime(b) - began
			}
			b.ReportMetric(used.Seconds()/(float64(b.N)*size/1e9), "cpu-s/GB")
		})
	}
}

// processorTime is what the process has used so far: the readers and the upstream,
// too.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkColdFill(b *testing.B) { benchmarkCold(b, 1) }

func BenchmarkJoinedReaders20(b *testing.B) { benchmarkCold(b, 20) }
