#pragma once
#include <wavejit/num/quantise.cuh>
