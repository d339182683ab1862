// What a kernel does with an element: prologue, core, epilogue.
//
// An operation O says
//
//   Operands<O>    how many inputs it loads and outputs it stores per element
//   prologue       an element's inputs to the core's arguments
//   core           the arguments to results, by a method (math/methods.cuh)
//   epilogue       inputs and results to the element's outputs
//
// and loops (loops/) know nothing else about it. A loop passes an object of the operation along.
// Its members are what does not change from element to element: an operand that is constant along
// the loop's run (a scalar, a bias of the row) would be loaded once, into a member of its own type,
// and used in prologue and epilogue; what is summed over the run would be a member that the
// epilogue adds to. Where such operands follow the channels of a vector's elements, a loop would hand
// each element an object of its own. The operations that there are have no members.
//
// Which method will do is decided by the core's last DECISIVE arguments, so after the prologue.
// Where the prologue changes nothing (ARGUMENTS_ARE_INPUTS) that is seen from the packed words, for
// less; any other is run for a whole vector first, and the decision taken on what it returns.
#ifndef MISH_OPERATIONS_OPERATION_CUH
#define MISH_OPERATIONS_OPERATION_CUH

#include "device/device.cuh"

// How many operands an operation has: INPUTS, OUTPUTS, and whether outputs may be NULL
// (OPTIONAL_OUTPUTS).
template <class O> struct Operands;
// How a kernel is tuned: THREADS, RESIDENT_BLOCKS, VECTORS, VECTOR_BYTES, GROUPS_AT_ONCE, LOAD,
// STORE and STRIDED_UNITS.
template <class O, class E> struct Policy;

// A core alone: its arguments are loaded, its results stored.
template <class Core> struct Bare : Core {
    static const bool ARGUMENTS_ARE_INPUTS = true;
    template <typename Value>
    MISH_DEVICE void prologue(const Value *inputs, Value *arguments) const {
#pragma unroll
        for (int k = 0; k < Core::ARGUMENTS; ++k) arguments[k] = inputs[k];
    }
    template <typename Value>
    MISH_DEVICE void epilogue(const Value *, const Value *results, Value *outputs) {
#pragma unroll
        for (int k = 0; k < Core::RESULTS; ++k) outputs[k] = results[k];
    }
};

// The operands of a launch: inputs, then outputs, in the operation's order.
template <class O> struct Pointers {
    void *p[O::INPUTS + O::OUTPUTS];
};

#endif
