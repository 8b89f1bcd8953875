package operate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
)

// answerTime is how long a server may take to say how it fares.
const answerTime = 5 * time.Second

// Client is the gateway that a server is, asked over its admin API.
type Client struct {
	Address string
	// Ask makes one request, with the body if it is not nil. What the status of the
	// answer says is wrong is an error. The body of the answer ends with ctx.
	Ask func(ctx context.Context, method, uri string, body io.Reader) (*http.Response, error)
}

var _ Gateway = (*Client)(nil)

func (c *Client) ask(ctx context.Context, method, path string, p Parameters, body io.Reader) (*http.Response, error) {
	uri := path
	if query := p.Encode(); query != "" {
		uri += "?" + query
	}
	response, err := c.Ask(ctx, method, uri, body)
	if err != nil {
		return nil, fmt.Errorf("admin API at %s: %w", c.Address, err)
	}
	return response, nil
}

// Status implements Gateway.
func (c *Client) Status(ctx context.Context, path string) (Status, error) {
	status, err := askDocument[Status](ctx, c, StatusPath, nil)
	if path != "" {
		status.Storage = slices.DeleteFunc(status.Storage, func(s StoreStatus) bool { return s.Path != path })
	}
	return status, err
}

// askDocument asks for something that a server knows at once.
func askDocument[D any](ctx context.Context, c *Client, path string, p Parameters) (document D, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, path, p, nil)
	if err != nil {
		return document, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		return document, fmt.Errorf("admin API at %s: read answer: %w", c.Address, err)
	}
	return document, nil
}

// askLines passes on each line of an answer, until last says that it was the last one.
// An answer that ends before is an error.
func askLines[L any](ctx context.Context, c *Client, path string, p Parameters, body io.Reader, tell func(L), last func(L) bool) error {
	response, err := c.ask(ctx, http.MethodPost, path, p, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for decoder := json.NewDecoder(response.Body); ; {
		var line L
		if err := decoder.Decode(&line); err != nil {
			if ctx.Err() == nil && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("the server at %s ended the answer: %w", c.Address, err)
		}
		tell(line)
		if last(line) {
			return nil
		}
	}
}

// askStores asks for something on stores, which ends with the last of these.
func askStores[P, R any](ctx context.Context, c *Client, path string, p Parameters, body io.Reader, tell func(StoreLine[P, R])) error {
	left := 0
	return askLines(ctx, c, path, p, body, tell, func(line StoreLine[P, R]) bool {
		switch {
		case line.Path == "":
			left = len(line.Paths)
		case line.Progress == nil:
			left--
		}
		return left == 0
	})
}

// Inventory implements Gateway.
func (c *Client) Inventory(ctx context.Context, q InventoryRequest, tell func(InventoryLine)) error {
	return askStores(ctx, c, InventoryPath, q.Parameters(), nil, tell)
}

// Remove implements Gateway.
func (c *Client) Remove(ctx context.Context, q RemoveRequest, tell func(RemoveLine)) error {
	return askStores(ctx, c, RemovePath, q.Parameters(), nil, tell)
}

// Pins implements Gateway.
func (c *Client) Pins(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	return askStores(ctx, c, PinsPath, q.Parameters(), nil, tell)
}

// Pin implements Gateway.
func (c *Client) Pin(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	return askStores(ctx, c, PinPath, q.Parameters(), q.body(), tell)
}

// Unpin implements Gateway.
func (c *Client) Unpin(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	return askStores(ctx, c, UnpinPath, q.Parameters(), nil, tell)
}

// Check implements Gateway.
func (c *Client) Check(ctx context.Context, q CheckRequest, tell func(CheckLine)) error {
	return askStores(ctx, c, CheckPath, q.Parameters(), nil, tell)
}

// Verify implements Gateway.
func (c *Client) Verify(ctx context.Context, q VerifyRequest, tell func(ImageLine)) error {
	return askLines(ctx, c, VerifyPath, q.Parameters(), q.body(), tell, ImageLine.isLast)
}

// Preload implements Gateway.
func (c *Client) Preload(ctx context.Context, q PreloadRequest, tell func(ImageLine)) error {
	return askLines(ctx, c, PreloadPath, q.Parameters(), q.body(), tell, ImageLine.isLast)
}

func (l ImageLine) isLast() bool { return l.Totals != nil || l.Error != "" }

// Export implements Gateway. What the server sends is verified as it is written.
func (c *Client) Export(ctx context.Context, q ExportRequest) (*Bundle, error) {
	q.Report = true
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	response, err := c.ask(ctx, http.MethodPost, ExportPath, q.Parameters(), bytes.NewReader(body)) //nolint:bodyclose // Bundle.Close does
	if err != nil {
		return nil, err
	}
	content := bufio.NewReaderSize(response.Body, 1<<20)
	b := &Bundle{Close: response.Body.Close}
	line, err := content.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &b.Report)
	}
	if err != nil {
		return nil, errors.Join(c.gaveUp(err), b.Close())
	}
	b.Write = func(w *bundle.Writer, progress func(int64)) error {
		r, err := bundle.NewStream(content)
		if err != nil {
			return c.gaveUp(err)
		}
		defer r.Close()
		return c.gaveUp(bundle.Copy(w, r, func(written, _ int64) { progress(written) }))
	}
	return b, nil
}

// gaveUp says what it means that an answer ends too early.
func (c *Client) gaveUp(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the server at %s gave up, and its log says why: %w", c.Address, err)
	}
	return err
}

var errServerDone = errors.New("the server reads no more")

// Import implements Gateway. Progress is that of sending.
func (c *Client) Import(ctx context.Context, q ImportRequest, open func() (*bundle.Reader, error), tell func(ImportLine)) error {
	b, err := open()
	if err != nil {
		return err
	}
	var mu sync.Mutex // one line at a time
	serial := func(line ImportLine) {
		mu.Lock()
		defer mu.Unlock()
		tell(line)
	}
	read, write := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := bundle.Copy(bundle.NewWriter(write), b, func(written, total int64) {
			serial(ImportLine{Progress: &carry.ImportProgress{Bytes: written, Total: total}})
		})
		// Before the server sees the end, so that it is known why it came.
		sent <- err
		_ = write.CloseWithError(err)
	}()
	var result *ImportResult
	err = askLines(ctx, c, ImportPath, q.Parameters(), read, func(line ImportLine) {
		switch {
		case line.Result != nil:
			result = line.Result
		case line.Progress == nil:
			serial(line)
		}
	}, func(line ImportLine) bool { return line.Result != nil })
	_ = read.CloseWithError(errServerDone)
	// What is wrong with the bundle is known here best. That nobody reads it, with what
	// the transport says then, has its reason in the answer.
	local := <-sent
	local = ignore(local, errServerDone, io.ErrClosedPipe)
	switch {
	case local != nil && (err != nil || result.Error != ""):
		return local
	case err != nil:
		return err
	}
	serial(ImportLine{Result: result})
	return nil
}

// ignore returns an error, unless it is one of those that are expected.
func ignore(err error, expected ...error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
