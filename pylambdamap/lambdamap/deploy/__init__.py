"""Deployment of code on this machine as a Lambda function.

`package` makes the folder and the zip, `account` creates the function through boto3, `image` writes a
Dockerfile. Maps do not need this package.
"""
