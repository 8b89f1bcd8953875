package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

func nameAndValue(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("%q: want name=value", s)
	}
	return name, value, nil
}

// load is what a server stood for a while.
type load struct {
	requests int
	bytes    int64
	took     time.Duration
	cpu      time.Duration // of the server
	waits    []float64     // seconds of each request
}

func (l load) perSecond() float64     { return float64(l.requests) / l.took.Seconds() }
func (l load) throughput() float64    { return float64(l.bytes) / 1e9 / l.took.Seconds() }
func (l load) cpuPerGB() float64      { return l.cpu.Seconds() / (float64(l.bytes) / 1e9) }
func (l load) cpuPerRequest() float64 { return 1e6 * l.cpu.Seconds() / float64(l.requests) } // in µs
func (l load) p99() float64           { return 1000 * percentile(l.waits, 0.99) }            // in ms

// worker does one request after the other.
type worker interface {
	// do makes one request, and returns how long its body was.
	do() (int64, error)
	Close() error
}

// drive has n workers make requests for a while.
func drive(ctx context.Context, p *process, n int, span time.Duration, connect func() (worker, error)) (l load, err error) {
	workers := []worker{}
	defer func() {
		for _, w := range workers {
			w.Close()
		}
	}()
	for range n {
		w, err := connect()
		if err != nil {
			return l, err
		}
		workers = append(workers, w)
		if _, err := w.do(); err != nil { // warm
			return l, err
		}
	}
	before, err := p.cpu()
	if err != nil {
		return l, err
	}
	began := time.Now()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, w := range workers {
		wait.Go(func() {
			var own load
			var failed error
			for ctx.Err() == nil && failed == nil && time.Since(began) < span {
				asked := time.Now()
				var size int64
				if size, failed = w.do(); failed == nil {
					own.requests++
					own.bytes += size
					own.waits = append(own.waits, time.Since(asked).Seconds())
				}
			}
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, failed)
			l.requests, l.bytes, l.waits = l.requests+own.requests, l.bytes+own.bytes, append(l.waits, own.waits...)
		})
	}
	wait.Wait()
	l.took = time.Since(began)
	spent, cpuErr := p.cpu()
	l.cpu = spent - before
	return l, errors.Join(err, cpuErr, ctx.Err())
}

// rawWorker speaks HTTP/1.1 with as little effort as can be, so that what is
// measured is the server. Of bodies over cleartext it takes nothing but their
// length: the kernel throws them away.
type rawWorker struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	head    bool
	buffer  []byte
}

func newRawWorker(address, method, path string, header map[string]string, secure bool) (worker, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	request := requestFor(address, method, path, header)
	return &rawWorker{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), request: request, head: method == "HEAD"}, nil
}

func requestFor(address, method, path string, header map[string]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, address)
	for name, value := range header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func (w *rawWorker) Close() error { return w.conn.Close() }

func (w *rawWorker) do() (int64, error) {
	if _, err := w.conn.Write(w.request); err != nil {
		return 0, err
	}
	length := int64(-1)
	for first := true; ; first = false {
		text, err := w.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		text = bytes.TrimRight(text, "\r\n")
		if len(text) == 0 {
			break
		}
		if first && !bytes.HasPrefix(text, []byte("HTTP/1.1 20")) {
			return 0, fmt.Errorf("answer %q", text)
		}
		if name, value, ok := bytes.Cut(text, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("answer without Content-Length")
	}
	if w.head {
		return 0, nil
	}
	left := length
	n, err := w.in.Discard(int(min(left, int64(w.in.Buffered()))))
	if left -= int64(n); err != nil {
		return 0, err
	}
	if plain, ok := w.conn.(*net.TCPConn); ok {
		return length, throwAway(plain, left)
	}
	if w.buffer == nil {
		w.buffer = make([]byte, 64<<10)
	}
	for left > 0 {
		n, err := w.conn.Read(w.buffer[:min(left, int64(len(w.buffer)))])
		if left -= int64(n); err != nil {
			return 0, err
		}
	}
	return length, nil
}
