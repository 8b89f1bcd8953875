package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/internal/freeport"
)

// bare does for a cold pull what cannot be left out, and nothing else: it receives a
// blob, hashes, stores and sends it, in one loop with one buffer. It shares nothing
// between clients, and keeps no index and no limits; so what a gateway takes beyond
// it is the gateway's own, and what it takes is the machine's.
type bare struct {
	client      *http.Client
	origin, dir string
}

// serveBare serves what is at origin, a base URL.
func serveBare(origin, dir, address string) {
	fatal(http.ListenAndServe(address, &bare{newClient(false), origin, dir}))
}

func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, b.origin+r.URL.Path, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request.Header = r.Header
	answer, err := b.client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	if ref, ok := after(r.URL.Path, "/blobs/sha256:"); ok && r.Method == http.MethodGet && answer.StatusCode == http.StatusOK {
		err = b.keep(w, answer.Body, answer.ContentLength, ref)
	} else {
		_, err = io.Copy(w, answer.Body)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// keep sends and stores a blob. Its last bytes go once its digest is right. Nobody
// waits for the disk.
func (b *bare) keep(w io.Writer, body io.Reader, size int64, want string) error {
	f, err := os.CreateTemp(b.dir, "")
	if err != nil {
		return err
	}
	if err := b.copy(w, body, f, size, want); err != nil {
		return errors.Join(err, f.Close())
	}
	go func() {
		if err := errors.Join(uninterrupted(func() error { return unix.Fdatasync(int(f.Fd())) }), f.Close()); err != nil {
			fatal(err)
		}
	}()
	return nil
}

func (b *bare) copy(w io.Writer, body io.Reader, f *os.File, size int64, want string) error {
	if err := uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }); err != nil {
		return err
	}
	buffer := discards.Get().(*[256 << 10]byte)
	defer discards.Put(buffer)
	h := sha256.New()
	for at := int64(0); at < size; {
		n, readErr := body.Read(buffer[:])
		h.Write(buffer[:n])
		if _, err := f.WriteAt(buffer[:n], at); err != nil {
			return err
		}
		at += int64(n)
		if at == size && hex.EncodeToString(h.Sum(nil)) != want {
			return errors.New("wrong digest")
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if readErr != nil && at < size {
			return readErr
		}
	}
	return nil
}

// uninterrupted repeats a system call that a signal of the runtime ends.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// startBare starts the bare loop with an empty directory in front of an upstream.
func (b *bench) startBare(ctx context.Context, upstream string) (*gateway, error) {
	dir, err := os.MkdirTemp(b.dir, "bare-")
	if err != nil {
		return nil, err
	}
	g := new(gateway)
	if g.plain, err = freeport.Address(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g.process, err = b.start(ctx, fmt.Sprintf("http://%s/v2/", g.plain), self, "bare", "http://"+upstream, dir, g.plain)
	if err == nil {
		g.dir = dir
	}
	return g, err
}
