package rest

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/topology"
)

// Bounds of a request's body.
const (
	// maxBody and maxRegistration in bytes.
	maxBody         = 1 << 20
	maxRegistration = 256 << 10
	// maxDepth of objects and arrays in each other. What is asked for needs 3.
	maxDepth = 32
)

// decodeJSON reads a body of at most limit bytes into into, a pointer to a
// struct. It refuses more than encoding/json does: unknown, misspelt and
// repeated fields, deep nesting, NUL, and anything after the object.
func decodeJSON(c call, limit int64, into any, types ...string) error {
	body, err := readBody(c, limit, types...)
	if err != nil {
		return err
	}
	return unmarshal(body, into)
}

func unmarshal(body []byte, into any) error {
	if err := checkJSON(body, reflect.TypeOf(into).Elem()); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return explainJSON(err)
	}
	return nil
}

// readBody reads the whole body, within its limits of size and time.
func readBody(c call, limit int64, types ...string) ([]byte, error) {
	header := c.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(header)
	if charset := params["charset"]; err != nil || !slices.Contains(types, media) || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return nil, &statusError{http.StatusUnsupportedMediaType,
			api.Invalidf("content type %q is not accepted", shorten(header)).WithHint("send %s", strings.Join(types, " or "))}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &api.Error{Kind: api.KindTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes", limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &statusError{http.StatusRequestTimeout, api.Invalidf("the body did not arrive in time")}
	case err != nil:
		return nil, api.Invalidf("the body could not be read: %w", err)
	}
	// The answer may take longer than the body was allowed to.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, api.Invalidf("the body is empty: a JSON object is expected")
	}
	return body, nil
}

// checkJSON looks at body as one JSON object for a struct of type t; nil t
// knows no fields and accepts all.
func checkJSON(body []byte, t reflect.Type) error {
	if !utf8.Valid(body) {
		return api.Invalidf("the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	w := walker{dec: dec}
	first, err := dec.Token()
	if err != nil {
		return explainJSON(err)
	}
	if first != json.Delim('{') {
		return api.Invalidf("the body is not a JSON object")
	}
	if err := w.object(t, "", 1); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return api.Invalidf("the body goes on after its JSON object, at byte %d", dec.InputOffset())
	}
	return nil
}

// walker goes through a JSON document and, beside it, through the type that
// it is for.
type walker struct{ dec *json.Decoder }

// value checks the next value.
func (w walker) value(t reflect.Type, path string, depth int) error {
	token, err := w.dec.Token()
	if err != nil {
		return explainJSON(err)
	}
	switch token {
	case json.Delim('{'):
		return w.object(t, path, depth+1)
	case json.Delim('['):
		if depth >= maxDepth {
			return tooDeep(path)
		}
		elem := indirect(t)
		if elem != nil && (elem.Kind() == reflect.Slice || elem.Kind() == reflect.Array) {
			elem = elem.Elem()
		} else {
			elem = nil
		}
		for i := 0; w.dec.More(); i++ {
			if err := w.value(elem, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
		_, err = w.dec.Token()
		return explainJSON(err)
	}
	if s, ok := token.(string); ok && strings.ContainsRune(s, 0) {
		return api.Invalidf("field %s contains a NUL character", path)
	}
	return nil
}

// object checks the rest of an object whose brace has been read.
func (w walker) object(t reflect.Type, path string, depth int) error {
	if depth > maxDepth {
		return tooDeep(path)
	}
	known, of := fields(t)
	seen := map[string]bool{}
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return explainJSON(err)
		}
		key, _ := token.(string)
		at := shorten(strings.TrimPrefix(path+"."+key, "."))
		switch {
		case strings.ContainsRune(key, 0):
			return api.Invalidf("field %q contains a NUL character", at)
		case seen[key]:
			return api.Invalidf("field %q is there twice", at)
		}
		seen[key] = true
		next, ok := of(key)
		if !ok {
			return api.Invalidf("unknown field %q", at).WithHint("known: %s", strings.Join(known, ", "))
		}
		if err := w.value(next, at, depth); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return explainJSON(err)
}

func tooDeep(path string) error {
	return api.Invalidf("field %s is nested deeper than %d levels", shorten(path), maxDepth)
}

// fields returns the names that an object of type t may have and the type of
// each; what is not a struct may have any.
func fields(t reflect.Type) ([]string, func(string) (reflect.Type, bool)) {
	t = indirect(t)
	switch {
	case t != nil && t.Kind() == reflect.Map:
		return nil, func(string) (reflect.Type, bool) { return t.Elem(), true }
	case t == nil || t.Kind() != reflect.Struct:
		return nil, func(string) (reflect.Type, bool) { return nil, true }
	}
	var names []string
	types := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || name == "-" || name == "" {
			continue
		}
		names = append(names, name)
		types[name] = f.Type
	}
	return names, func(key string) (reflect.Type, bool) { ft, ok := types[key]; return ft, ok }
}

// indirect follows pointers. A type that reads its own JSON has no fields
// that are known here.
func indirect(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return nil
	}
	p := reflect.PointerTo(t)
	if p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	return t
}

// explainJSON turns an error of encoding/json into words without Go's types.
func explainJSON(err error) error {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return api.Invalidf("the body is not valid JSON: %s, at byte %d", syntax, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return api.Invalidf("the body is not valid JSON: it ends in the middle")
	case errors.As(err, &mismatch):
		return api.Invalidf("field %q cannot be a %s: %s is expected", mismatch.Field, shorten(mismatch.Value), wanted(mismatch.Type))
	}
	return api.Invalidf("the body is not valid: %w", err)
}

func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number within bounds"
}

// decodePatch reads a JSON merge patch (RFC 7396) of a node.
func decodePatch(c call) (api.NodePatch, error) {
	body, err := readBody(c, maxBody, "application/merge-patch+json", "application/json")
	if err != nil {
		return api.NodePatch{}, err
	}
	return parsePatch(body)
}

func parsePatch(body []byte) (api.NodePatch, error) {
	var patch api.NodePatch
	if err := unmarshal(body, &patch); err != nil {
		return api.NodePatch{}, err
	}
	// In a merge patch null takes a field away, which Go's nil cannot tell
	// from a field that is absent.
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return api.NodePatch{}, explainJSON(err)
	}
	for field, value := range raw {
		if string(value) != "null" {
			continue
		}
		switch field {
		case "log_level":
			patch.LogLevel = new(string)
		case "status":
			return api.NodePatch{}, api.Invalidf("field \"status\" cannot be null").WithHint("use one of %s, %s, %s", topology.StatusMaintenance, topology.StatusReady, topology.StatusInitializing)
		default:
			return api.NodePatch{}, api.Invalidf("field %q cannot be null", field).WithHint("set a single label to null to remove it")
		}
	}
	return patch, nil
}
