package imagelist

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// maxDepth is how deep JSON may be nested; YAML has the same limit.
const maxDepth = 10_000

var errDeep = errors.New("nested too deeply")

// parseJSON reads JSON documents, one after the other, as the nodes of YAML. Not
// everything that is allowed in strings of JSON is so there.
func parseJSON(raw []byte) (nodes []*yaml.Node, err error) {
	p := jsonParser{raw: raw, decoder: json.NewDecoder(bytes.NewReader(raw)), line: 1}
	p.decoder.UseNumber()
	for {
		n, err := p.value(0)
		if errors.Is(err, io.EOF) {
			return nodes, nil
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
}

type jsonParser struct {
	raw     []byte
	decoder *json.Decoder
	read    int // up to where lines were counted
	line    int
}

// value reads one value. The end of an array or an object is nil.
func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	offset := int(p.decoder.InputOffset())
	p.line += bytes.Count(p.raw[p.read:offset], []byte("\n"))
	p.read = offset
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: p.line}
	switch t := token.(type) {
	case string:
		n.Value = t
		return n, nil
	case json.Number:
		n.Value = t.String()
		return n, nil
	case json.Delim:
		switch t {
		case ']', '}':
			return nil, nil
		case '[':
			n.Kind = yaml.SequenceNode
		default:
			n.Kind = yaml.MappingNode
		}
	default: // true, false, null
		n.Tag = "!!null"
		return n, nil
	}
	if depth == maxDepth {
		return nil, errDeep
	}
	for {
		child, err := p.value(depth + 1)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || child == nil {
			return n, err
		}
		n.Content = append(n.Content, child)
	}
}
