package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	binary   string
	peers    map[string]string // binaries of other registries by name
	rounds   int
	span     time.Duration // how long one load lasts
	dir      string
	profiles string // directory for profiles of the gateway; empty = none
	upstream string // line for each upstream
	timeouts string // line for the server
	fleet    string // what gateways share; empty = nothing
	many     []int  // how many blobs the stores have that are compared
	hash     string // of the password
	image    *image
	origin   *origin
	table    table
}

func main() {
	if len(os.Args) > 1 && serveRole(os.Args[1], os.Args[2:]) {
		return
	}
	b := bench{peers: map[string]string{}, many: []int{10, 10_000}}
	flag.StringVar(&b.binary, "binary", "bin/pullgate", "the gateway's binary")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each contestant runs")
	flag.DurationVar(&b.span, "time", 2*time.Second, "how long one load lasts")
	flag.StringVar(&b.upstream, "upstream", "", "a `line` of the Caddyfile for each upstream, such as \"parallel_download 1\"")
	flag.StringVar(&b.timeouts, "timeouts", "", "a `line` for Caddy's server timeouts, such as \"write_max_chunk 4MiB\"")
	flag.StringVar(&b.profiles, "profiles", "", "a directory for CPU profiles of the gateway under load")
	flag.Func("many", "how many blobs the stores have that are compared, as in 10,10000,1000000: a million needs 6 GB of TMPDIR,\nand minutes, where that is memory (default 10,10000)", func(s string) (err error) {
		b.many, err = parseSizes(s)
		return err
	})
	pattern := flag.String("run", ".", "a regular expression of the measurements to make")
	flag.Func("peer", "name=binary of a distribution registry to compare with, repeatedly (default: docker-registry, if installed)", func(s string) error {
		return b.addPeer(s)
	})
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: bench [flags]\n\nMeasurements:\n")
		for _, m := range measurements {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-12s %s\n", m.name, m.about)
		}
		fmt.Fprintln(flag.CommandLine.Output(), "\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	chosen, err := regexp.Compile(*pattern)
	if err != nil {
		fatal(fmt.Errorf("-run: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, chosen); err != nil {
		stop()
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// measurement is one group of lines of the table.
type measurement struct {
	name, about string
	run         func(context.Context, *bench) error
}

var measurements = []measurement{
	{"hit", "a cached blob of 1 GiB, cleartext HTTP/1.1, against net/http's ServeContent", measureHits},
	{"tls", "the same over TLS, HTTP/1.1 and HTTP/2, against a bare net/http server", measureTLS},
	{"manifest", "a cached manifest, 32 connections, against Caddy's respond, both without and with a password", measureManifests},
	{"cold", "an image of 300 MB that is not cached, from an upstream without limits, against a bare loop", measureCold},
	{"first", "the first byte of a blob that is not cached, and of one that is under way", measureFirst},
	{"slow", "the same from one with 30 ms and 50 MB/s per connection, against no gateway", measureSlow},
	{"herd", "16 and 256 clients at once, an uplink of 1 Gbit/s, against one download on that link", measureHerd},
	{"bucket", "an image that a fleet's bucket has, 20 ms away with 90 MB/s per connection, against no gateway", measureBucket},
	{"fleet", "hits on gateways that ask each other, and the first byte through another one, against a single one", measureFleet},
	{"many", "hits on stores of many blobs, against one of few", measureMany},
	{"memory", "resident memory: idle, and with 100 streams of 1 GiB", measureMemory},
	{"start", "from the start of the process to the first answer", measureStart},
}

func (b *bench) run(ctx context.Context, chosen *regexp.Regexp) (err error) {
	if b.dir, err = os.MkdirTemp("", "pullgate-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if len(b.peers) == 0 {
		b.findPeers()
	}
	if b.hash, err = hashPassword(); err != nil {
		return err
	}
	say("making an image of %d blobs of %d bytes", imageBlobs, imageBlobSize)
	if b.image, err = makeImage(b.dir); err != nil {
		return err
	}
	if b.origin, err = b.startOrigin(ctx); err != nil {
		return err
	}
	defer b.origin.stop()
	for _, m := range measurements {
		if !chosen.MatchString(m.name) {
			continue
		}
		say("measuring %s: %s", m.name, m.about)
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	b.table.print(os.Stdout)
	return nil
}

// say tells how far it got.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
