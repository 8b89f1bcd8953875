package caddymodule

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// rawQuiet is how long a connection is silent until its server is counted as
// done with it.
const rawQuiet = 300 * time.Millisecond

// raw <bytes>...: writes them to a connection of its own, and reads all answers
// that come back. The connection is then closed, unless the server has done that.
func (s *scenario) cmdRaw(args []string) {
	conn := s.dialGateway()
	defer conn.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for _, text := range args {
			if _, err := io.WriteString(conn, text); err != nil {
				return // the server has had enough
			}
		}
	}()
	var received bytes.Buffer
	var closed bool
	buffer := make([]byte, 64<<10)
	quiet := 5 * time.Second // until the first byte
	for {
		s.check(conn.SetReadDeadline(time.Now().Add(quiet)))
		n, err := conn.Read(buffer)
		received.Write(buffer[:n])
		if n > 0 {
			quiet = rawQuiet
		}
		if err != nil {
			var timeout net.Error
			closed = !errors.As(err, &timeout) || !timeout.Timeout()
			break
		}
	}
	_ = conn.Close()
	<-written
	s.last = nil
	from := bufio.NewReader(&received)
	for {
		response, err := http.ReadResponse(from, nil)
		if err != nil {
			break
		}
		rep := &reply{what: "raw", status: response.StatusCode, header: response.Header, closed: closed}
		rep.body, rep.err = io.ReadAll(response.Body)
		_ = response.Body.Close()
		s.last = append(s.last, rep)
	}
	if len(s.last) == 0 {
		s.last = []*reply{{what: "raw", err: errors.New("no answer"), closed: closed}}
	}
}
