package store

import (
	"encoding/json"
	"fmt"
)

// envelopeVersion is raised when the shape of the envelope changes, not when a
// type's own JSON does.
const envelopeVersion = 1

// envelope is what lies under the seal. Kind keeps a value of one type from
// being read as another one.
type envelope struct {
	V    int             `json:"v"`
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data"`
}

// encodeData is the JSON that decides whether a value has changed.
func encodeData(value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if len(data) > MaxValueBytes {
		return nil, fmt.Errorf("value has %d bytes of JSON, at most %d: %w", len(data), MaxValueBytes, ErrTooLarge)
	}
	return data, nil
}

// sealData wraps and seals data for the place fullKey.
func sealData(s *Sealer, fullKey, kind string, data []byte) ([]byte, error) {
	plain, err := json.Marshal(envelope{V: envelopeVersion, Kind: kind, Data: data})
	if err != nil {
		return nil, err
	}
	return s.Seal([]byte(fullKey), plain), nil
}

// openData is the reverse of sealData.
func openData(s *Sealer, fullKey, kind string, sealed []byte) (json.RawMessage, error) {
	plain, err := s.Open([]byte(fullKey), sealed)
	if err != nil {
		return nil, err
	}
	return decodeEnvelope(kind, plain)
}

func decodeEnvelope(kind string, plain []byte) (json.RawMessage, error) {
	var e envelope
	if err := json.Unmarshal(plain, &e); err != nil {
		return nil, fmt.Errorf("envelope: %w: %w", err, ErrUnreadable)
	}
	if e.V != envelopeVersion {
		return nil, fmt.Errorf("envelope has version %d, this program reads version %d (written by a newer piccolo?): %w",
			e.V, envelopeVersion, ErrUnreadable)
	}
	if e.Kind != kind {
		return nil, fmt.Errorf("it is a %q, not a %q: %w", e.Kind, kind, ErrUnreadable)
	}
	if len(e.Data) == 0 {
		return nil, fmt.Errorf("envelope is empty: %w", ErrUnreadable)
	}
	return e.Data, nil
}

// decodeRecord opens a sealed value into a T and returns its JSON too.
func decodeRecord[T any](s *Sealer, fullKey, kind string, sealed []byte) (value T, data json.RawMessage, err error) {
	data, err = openData(s, fullKey, kind, sealed)
	if err == nil {
		if jsonErr := json.Unmarshal(data, &value); jsonErr != nil {
			err = fmt.Errorf("%w: %w", jsonErr, ErrUnreadable)
		}
	}
	if err != nil {
		var zero T
		return zero, nil, fmt.Errorf("read record %s: %w", fullKey, err)
	}
	return value, data, nil
}
