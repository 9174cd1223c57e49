// Score one request's candidates with a package that `specc export --format aoti --form request` wrote.
//
//   g++ -std=c++20 -O2 score.cpp $(python docs/cpp/flags.py) -o score && ./score shop.pt2
//
// The inputs are those of shop.pt2.about/export.json, in their order.
#include <ATen/ATen.h>
#include <iostream>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

int main(int count, char **arguments)
{
    if (count != 2) {
        std::cerr << "usage: score PACKAGE\n";
        return 2;
    }
    c10::InferenceMode without_gradients;
    torch::inductor::AOTIModelPackageLoader model(arguments[1]);
    const auto ids = [](std::vector<int64_t> values) { return at::tensor(at::ArrayRef<int64_t>(values), at::kLong); };
    std::vector<at::Tensor> inputs = {
        ids({3}),       // user_id [1]
        ids({1, 2, 9}), // ad_item [candidates]
        ids({4, 5}),    // history_item [history.t]
    };
    const auto scores = model.run(inputs)[0].contiguous();
    for (int64_t i = 0; i < scores.numel(); i++)
        std::cout << scores.data_ptr<float>()[i] << "\n";
}
