/* The forward pass, in the order of llama2.c's. */
#include "model.h"

#include "arithmetic.h"
#include "contract.h"
#include "layout.h"
#include "matrix.h"
#include "workspace.h"

#define IMAGE_ADDRESS (DRAM_ORIGIN + IMAGE_OFFSET)

static uint32_t dim;
static uint32_t hidden;
static uint32_t head_dim;
static uint32_t key_columns;

/* The residual vector, and what is computed from it. */
static float *x;
static float *normed;
static float *query;
static float *key;
static float *attended;
static float *gate;
static float *scores;
static struct quantised vector;

/* For each layer, position and KV head in turn. */
static float *keys;
static float *values;

uint32_t model_word(uint32_t index)
{
    return ((const uint32_t *)(uintptr_t)IMAGE_ADDRESS)[index];
}

static const void *at(uint32_t word)
{
    return (const void *)(uintptr_t)(IMAGE_ADDRESS + model_word(word));
}

uint32_t model_prompt(uint32_t index)
{
    return ((const uint32_t *)at(WORD_PROMPT))[index];
}

static float *take_floats(uint32_t count)
{
    return workspace_take(4u * count);
}

bool model_init(void)
{
    if (model_word(WORD_MAGIC) != BASELINE_MAGIC)
        return false;
    dim = model_word(WORD_DIM);
    hidden = model_word(WORD_HIDDEN);
    head_dim = model_word(WORD_HEAD_DIM);
    key_columns = model_word(WORD_KV_HEADS) * head_dim;
    const uint32_t queries = model_word(WORD_HEADS) * head_dim;
    const uint32_t widest = hidden > queries ? hidden : queries;
    const uint32_t longest = widest > dim ? widest : dim;
    const uint32_t positions = model_word(WORD_POSITIONS);

    workspace_init(IMAGE_ADDRESS + model_word(WORD_END));
    matrix_init(model_word(WORD_GROUP));
    vector.elements = workspace_take(longest);
    vector.scales = take_floats(longest / model_word(WORD_GROUP) + 1u);
    x = take_floats(dim);
    normed = take_floats(dim);
    query = take_floats(queries);
    key = take_floats(key_columns);
    attended = take_floats(queries);
    gate = take_floats(hidden);
    scores = take_floats(positions);

    const uint32_t cache = model_word(WORD_LAYERS) * positions * key_columns;
    keys = workspace_take_dram(4u * cache);
    values = workspace_take_dram(4u * cache);
    /* Positions before the prompt count as read, with keys and values of zero. */
    if (model_word(WORD_DEPTH) != 0)
        for (uint32_t i = 0; i < cache; i++)
            keys[i] = values[i] = 0.0f;
    return true;
}

/* Quantises RMSNorm of the residual vector. */
static void quantise_normed(const float *gain)
{
    float sum = 0.0f;
    for (uint32_t i = 0; i < dim; i++)
        sum += x[i] * x[i];
    const float factor =
        reciprocal_root(sum / (float)dim + float_from_bits(model_word(WORD_EPSILON)));
    for (uint32_t i = 0; i < dim; i++)
        normed[i] = gain[i] * (factor * x[i]);
    quantise(&vector, normed, dim);
}

/* Rotary embedding of all heads. */
static void rotate(float *pairs, uint32_t length, const float *cosines)
{
    const float *const sines = cosines + head_dim / 2u;
    for (uint32_t head = 0; head < length; head += head_dim) {
        for (uint32_t i = 0; i < head_dim / 2u; i++) {
            const float first = pairs[0];
            const float second = pairs[1];
            *pairs++ = first * cosines[i] - second * sines[i];
            *pairs++ = first * sines[i] + second * cosines[i];
        }
    }
}

/* Softmax of the scores; returns 1 / their sum, by which the result is to be multiplied. */
static float weigh_scores(uint32_t count)
{
    float largest = scores[0];
    for (uint32_t i = 1; i < count; i++)
        if (scores[i] > largest)
            largest = scores[i];
    float sum = 0.0f;
    for (uint32_t i = 0; i < count; i++) {
        scores[i] = exponential(scores[i] - largest);
        sum += scores[i];
    }
    return 1.0f / sum;
}

/* One head's attention over ``count`` positions of its keys and values. */
static void attend(float *to, const float *head, const float *head_keys, const float *head_values,
                   uint32_t count)
{
    const float score_factor = float_from_bits(model_word(WORD_SCORE_FACTOR));
    for (uint32_t i = 0; i < count; i++, head_keys += key_columns) {
        float sum = 0.0f;
        for (uint32_t j = 0; j < head_dim; j++)
            sum += head[j] * head_keys[j];
        scores[i] = sum * score_factor;
    }
    const float factor = weigh_scores(count);
    for (uint32_t j = 0; j < head_dim; j++)
        to[j] = 0.0f;
    for (uint32_t i = 0; i < count; i++, head_values += key_columns)
        for (uint32_t j = 0; j < head_dim; j++)
            to[j] += scores[i] * head_values[j];
    for (uint32_t j = 0; j < head_dim; j++)
        to[j] *= factor;
}

static void attend_all(uint32_t layer, uint32_t position)
{
    const uint32_t heads = model_word(WORD_HEADS);
    const uint32_t group = heads / model_word(WORD_KV_HEADS);
    const uint32_t start = layer * model_word(WORD_POSITIONS) * key_columns;
    for (uint32_t head = 0; head < heads; head++) {
        const uint32_t first = start + head / group * head_dim;
        attend(attended + head * head_dim, query + head * head_dim, keys + first, values + first,
               position + 1u);
    }
}

/* Adds the product of a matrix and the quantised vector to the residual vector. */
static void add_rows(const void *matrix, uint32_t columns)
{
    const uint32_t *cursor = matrix;
    for (uint32_t i = 0; i < dim; i++)
        x[i] += matrix_row(&cursor, &vector, columns);
}

static const void *in_layer(const uint8_t *layer, uint32_t word)
{
    return layer + model_word(word);
}

static void attention(const uint8_t *layer, uint32_t index, uint32_t position)
{
    const uint32_t queries = model_word(WORD_HEADS) * head_dim;
    const uint32_t place = (index * model_word(WORD_POSITIONS) + position) * key_columns;
    const float *const angles =
        (const float *)at(WORD_ROPE) + (position - model_word(WORD_DEPTH)) * head_dim;
    quantise_normed(in_layer(layer, WORD_ATTENTION_NORM));
    matrix_times(query, in_layer(layer, WORD_QUERY), &vector, queries, dim);
    matrix_times(key, in_layer(layer, WORD_KEY), &vector, key_columns, dim);
    matrix_times(values + place, in_layer(layer, WORD_VALUE), &vector, key_columns, dim);
    rotate(query, queries, angles);
    rotate(key, key_columns, angles);
    for (uint32_t i = 0; i < key_columns; i++)
        keys[place + i] = key[i];
    attend_all(index, position);
    quantise(&vector, attended, queries);
    add_rows(in_layer(layer, WORD_OUTPUT), queries);
}

static void feed_forward(const uint8_t *layer)
{
    quantise_normed(in_layer(layer, WORD_FFN_NORM));
    matrix_times(gate, in_layer(layer, WORD_GATE), &vector, hidden, dim);
    const uint32_t *cursor = in_layer(layer, WORD_UP);
    for (uint32_t i = 0; i < hidden; i++) {
        const float silu = gate[i] / (1.0f + exponential(-gate[i]));
        gate[i] = silu * matrix_row(&cursor, &vector, dim);
    }
    quantise(&vector, gate, hidden);
    add_rows(in_layer(layer, WORD_DOWN), hidden);
}

/* Logits are compared as they come; none is kept. */
static uint32_t likeliest(void)
{
    quantise_normed(at(WORD_FINAL_NORM));
    const uint32_t *cursor = at(WORD_CLASSIFIER);
    const uint32_t vocabulary = model_word(WORD_VOCABULARY);
    uint32_t best = 0;
    float largest = matrix_row(&cursor, &vector, dim);
    for (uint32_t token = 1; token < vocabulary; token++) {
        const float logit = matrix_row(&cursor, &vector, dim);
        if (logit > largest) {
            largest = logit;
            best = token;
        }
    }
    return best;
}

uint32_t model_forward(uint32_t token, uint32_t position, bool wanted)
{
    const uint8_t *const embedding = at(WORD_EMBEDDING);
    const uint8_t *const row = embedding + token * model_word(WORD_EMBEDDING_STRIDE);
    matrix_row_copy(x, (const uint32_t *)(const void *)row, dim);
    const uint8_t *layer = at(WORD_LAYER);
    for (uint32_t index = 0; index < model_word(WORD_LAYERS); index++) {
        attention(layer, index, position);
        feed_forward(layer);
        layer += model_word(WORD_LAYER_STRIDE);
    }
    return wanted ? likeliest() : 0u;
}
